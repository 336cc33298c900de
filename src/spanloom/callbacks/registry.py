"""Handlers by name. This layer knows no handler; the composition root says how a name is resolved."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["load_handler", "set_handler_loader"]

_loader: Callable[[str], Callable[[], object]] | None = None


def set_handler_loader(loader: Callable[[str], Callable[[], object]]) -> None:
    """Say how the name of a handler becomes its class; called once, by the composition root."""
    global _loader  # noqa: PLW0603 -- set once, at import
    _loader = loader


def load_handler(name: str) -> Callable[[], object]:
    """Return the class of the handler called `name`.

    Raises:
        LookupError: there is no handler of that name; the message lists those there are.
    """
    if _loader is None:
        raise LookupError(f"no handler {name!r}: import spanloom, not its parts, to have handlers by name")
    return _loader(name)
