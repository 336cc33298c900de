"""What higher layers provide to lower ones: handlers by name, and the patching of libraries.

This layer implements neither; the composition root registers the functions that do.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["instrument_libraries", "load_handler", "set_handler_loader", "set_instrumenting"]

_loader: Callable[[str], Callable[[], object]] | None = None
_instrumenting: Callable[[], Callable[[], object]] | None = None


def set_handler_loader(loader: Callable[[str], Callable[[], object]]) -> None:
    """Set the function that returns a handler's class by its name; called once, by the composition root."""
    global _loader  # noqa: PLW0603 -- set once, at import
    _loader = loader


def load_handler(name: str) -> Callable[[], object]:
    """Return the class of the handler called `name`.

    Raises:
        LookupError: there is no handler of that name; the message lists the names. Also without a loader.
    """
    if _loader is None:
        raise LookupError(f"no handler {name!r}: import spanloom, not its parts, to have handlers by name")
    return _loader(name)


def set_instrumenting(begin: Callable[[], Callable[[], object]]) -> None:
    """Set the function behind `instrument_libraries`; called once, by the composition root.

    Args:
        begin: Patches the libraries and returns a function that undoes it.
    """
    global _instrumenting  # noqa: PLW0603 -- set once, at import
    _instrumenting = begin


def instrument_libraries() -> Callable[[], object]:
    """Patch the libraries that ``SPANLOOM_INSTRUMENT`` names, or else all; return a function that undoes it."""
    return (lambda: None) if _instrumenting is None else _instrumenting()
