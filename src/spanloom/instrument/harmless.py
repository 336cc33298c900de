"""Failures that are not the program's own and must not stop it: our mistakes, and libraries that have changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["MAX_TOLD", "guarded", "warn_once"]

T = TypeVar("T")

MAX_TOLD: Final = 1_000
"""Different warnings that are logged; later ones are not."""

_logger = logging.getLogger("spanloom")
_told: set[str] = set()


def warn_once(key: str, message: str, *args: object) -> None:
    """Log a warning, only once for each `key`.

    Args:
        key: Identifies the warning.
        message, args: As for `logging.Logger.warning`.
    """
    if key not in _told and len(_told) < MAX_TOLD:
        _told.add(key)
        _logger.warning(message, *args)


def guarded(what: str, function: Callable[..., T], *args: object) -> T | None:
    """Return the result of `function`; if it raises an `Exception`, log that once and return ``None``.

    For reading the arguments and the result of a call of somebody else's library, which may differ from those we know.

    Args:
        what: The call, for the warning.
        function: Reads them.
        args: Its arguments.
    """
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001 -- whatever a library has changed, its call must not fail by it
        warn_once(
            f"{what} {getattr(function, '__qualname__', '')}",
            "%s: its event lacks what could not be read: %s: %s",
            what,
            type(error).__name__,
            error,
        )
        return None
