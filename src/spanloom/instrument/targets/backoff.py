"""backoff: one event of type ``retry`` for each call of a function that is decorated from now on.

The two decorators are replaced by functions that give them one ``on_backoff`` handler more, and a target that tells of
its calls. All of that is public; the price is that functions which were decorated before are not seen. What users see
of the target, as ``__wrapped__`` and in the details that their handlers get, stays their own function.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final, cast

from spanloom.callbacks.decorate import hide_frame
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.patches import Patches
from spanloom.instrument.tries import UNWANTED, Tries, caller_name, watch

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"backoff": "2.2.1"}

_called: ContextVar[Tries | None] = ContextVar("spanloom_backoff_call", default=None)
"""The call that the next attempt belongs to."""


def patch(module: ModuleType, patches: Patches) -> None:
    """Replace both decorators."""
    _in_force.patches = patches

    def decorator(
        wrapped: Callable[..., Any], instance: object, args: Args, kwargs: KwArgs
    ) -> Callable[[Any], Any]:
        del instance
        own = dict(kwargs)
        for event in ("on_success", "on_backoff", "on_giveup"):
            handlers = own.get(event)
            if handlers is not None:
                own[event] = [
                    _show_target,
                    *(handlers if hasattr(handlers, "__iter__") else [handlers]),
                ]
        own["on_backoff"] = [*(own.get("on_backoff") or ()), _backing_off]
        try:
            decorate = wrapped(*args, **own)
        except BaseException as error:
            hide_frame(error)
            raise

        @functools.wraps(decorate)
        def decorate_watched(target: Any) -> Any:
            return _enclosing(decorate(_attempting(target)), target)

        return decorate_watched

    for name in ("on_exception", "on_predicate"):
        patches.wrap(module, name, decorator)


class _InForce:
    """The latest patches: a function that was decorated under earlier ones is watched under these, too."""

    patches: Patches | None = None

    def watch(self, name: str) -> Tries | None:
        return watch(name) if self.patches is not None and self.patches.active else None


_in_force: Final = _InForce()


def _enclosing(retried: Callable[..., Any], target: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that backoff has made of `target`, with an event for each call."""
    name = caller_name(target, ())

    @functools.wraps(target)
    def call(*args: Any, **kwargs: Any) -> Any:
        outer, tries = _called.get(), _in_force.watch(name)
        _called.set(tries)
        try:
            result = retried(*args, **kwargs)
        except BaseException as error:
            if tries is not None:
                tries.end(error)
            hide_frame(error)
            raise
        finally:
            _called.set(outer)
        if tries is not None:
            tries.end()
        return result

    @functools.wraps(target)
    async def async_call(*args: Any, **kwargs: Any) -> Any:
        outer, tries = _called.get(), _in_force.watch(name)
        _called.set(tries)
        try:
            result = await retried(*args, **kwargs)
        except BaseException as error:
            if tries is not None:
                tries.end(error)
            hide_frame(error)
            raise
        finally:
            _called.set(outer)
        if tries is not None:
            tries.end()
        return result

    return async_call if _is_async(retried) else call


def _is_async(function: object) -> bool:
    """Tell whether backoff takes a function for a coroutine function: as the deprecated function of asyncio did."""
    marked = getattr(function, "_is_coroutine", None)
    return inspect.iscoroutinefunction(function) or (
        marked is not None and marked is getattr(asyncio.coroutines, "_is_coroutine", None)
    )


class _Attempts:
    """Marks the functions of `_attempting`; has the target that each replaces."""

    __slots__ = ("target",)

    def __init__(self, target: object) -> None:
        self.target = target


def _attempting(target: Callable[..., Any]) -> Callable[..., Any]:
    """Return a wrapper of `target` that reports to the call under way when an attempt begins and how it ends."""

    @functools.wraps(target)
    def attempt(*args: Any, **kwargs: Any) -> Any:
        tries = _called.get()
        if tries is not None:
            tries.attempt()
        try:
            result = target(*args, **kwargs)
        except BaseException as error:
            if tries is not None:
                tries.attempted(error)
            hide_frame(error)
            raise
        if tries is not None:
            tries.attempted(None)
        return result

    @functools.wraps(target)
    async def async_attempt(*args: Any, **kwargs: Any) -> Any:
        tries = _called.get()
        if tries is not None:
            tries.attempt()
        try:
            result = await target(*args, **kwargs)
        except BaseException as error:
            if tries is not None:
                tries.attempted(error)
            hide_frame(error)
            raise
        if tries is not None:
            tries.attempted(None)
        return result

    # By backoff's own test: what it takes for a coroutine function must still be one.
    chosen: Any = async_attempt if _is_async(target) else attempt
    chosen.spanloom_attempts = _Attempts(target)
    return cast("Callable[..., Any]", chosen)


def _show_target(details: dict[str, Any]) -> None:
    """Show the user's own function, not our wrapper, to the handlers that come after this one."""
    attempts = getattr(details.get("target"), "spanloom_attempts", None)
    if isinstance(attempts, _Attempts):
        details["target"] = attempts.target


def _backing_off(details: dict[str, Any]) -> None:
    tries = _called.get()
    if tries is not None:
        error = details.get("exception")
        tries.back_off(details.get("wait", 0.0), UNWANTED if error is None else type(error).__name__)
