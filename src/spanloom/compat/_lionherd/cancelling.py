"""Cancellation: how to recognize it, and how to shield from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import anyio
from anyio import get_cancelled_exc_class

from spanloom.compat._lionherd.deadlines import unlimited

__all__ = ["get_cancelled_exc_class", "is_cancelled", "non_cancel_subgroup", "shield", "split_cancellation"]

P = ParamSpec("P")
T = TypeVar("T")


def is_cancelled(exc: BaseException) -> bool:
    """Return whether `exc` is the exception of a cancelled task."""
    return isinstance(exc, get_cancelled_exc_class())


async def shield(  # type: ignore[return]  # a scope may swallow its own cancel, but nobody cancels this one
    func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Await ``func(*args, **kwargs)`` shielded from outer cancel scopes; its own scopes still work.

    As with anyio, a bare ``Task.cancel()`` is not a scope, and gets through.

    Returns:
        What `func` returns.
    """
    with anyio.CancelScope(shield=True), unlimited():
        return await func(*args, **kwargs)


def split_cancellation(
    eg: BaseExceptionGroup[BaseException],
) -> tuple[BaseExceptionGroup[BaseException] | None, BaseExceptionGroup[BaseException] | None]:
    """Return the cancels of a group, and the rest of it; each ``None`` if there are none.

    Nesting, notes, causes and tracebacks stay as they are (``BaseExceptionGroup.split``).
    """
    return eg.split(get_cancelled_exc_class())


def non_cancel_subgroup(
    eg: BaseExceptionGroup[BaseException],
) -> BaseExceptionGroup[BaseException] | None:
    """Return a group without its cancels; ``None`` if nothing is left."""
    return split_cancellation(eg)[1]
