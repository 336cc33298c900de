"""Tasks that have ended and exist no more, as far as somebody has taken note of them."""

from __future__ import annotations

from types import CodeType
from typing import NamedTuple

__all__ = ["Gone"]


class Gone(NamedTuple):
    """Tasks of one function that were made, of which some have gone; or one that was lost together with its error.

    Attributes:
        codes: Of their function, and of the functions in which the error was raised.
        function: Qualified name of their function.
        names: Names that some of them were given.
        made: How many were made, as far as noted.
        error: Name of the type of the exception that one died of.
        message: The exception's message, if it is plain text.
        location: ``file:line`` where it was raised.
    """

    codes: tuple[CodeType, ...]
    function: str
    names: tuple[str, ...] = ()
    made: int = 0
    error: str | None = None
    message: str | None = None
    location: str | None = None
