"""Tasks that no longer exist, as far as they were noted while they did."""

from __future__ import annotations

from types import CodeType
from typing import NamedTuple

__all__ = ["Gone"]


class Gone(NamedTuple):
    """Tasks that were made of one function; or one task that failed and was freed with its exception unretrieved.

    Attributes:
        codes: Code of their function and, if one failed, of the functions in its traceback.
        function: Qualified name of their function.
        names: Names of some of them.
        made: How many were made, as far as noted.
        error: Name of the type of the exception that the one raised; ``None`` if none is known.
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
