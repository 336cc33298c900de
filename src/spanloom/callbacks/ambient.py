"""The ambient manager: the one that runners use."""

from __future__ import annotations

import contextvars
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from spanloom.callbacks.manager import CallbackManager
from spanloom.events.event import Event, data_of
from spanloom.events.link import Linkable, add_link

__all__ = [
    "current_attempt",
    "current_event",
    "get_callback_manager",
    "in_flight",
    "link",
    "propagate",
    "set_default_factory",
    "use_callback_manager",
    "with_default_manager",
]

P = ParamSpec("P")
R = TypeVar("R")

_chosen: contextvars.ContextVar[CallbackManager | None] = contextvars.ContextVar(
    "spanloom_manager", default=None
)
_lock = threading.RLock()
_default: CallbackManager | None = None
_factory: Callable[[], CallbackManager] = CallbackManager
_waiting: list[Callable[[CallbackManager], object]] = []


def set_default_factory(factory: Callable[[], CallbackManager]) -> None:
    """Set the function that makes the process's default manager, on first use."""
    global _factory  # noqa: PLW0603 -- set once by the composition root, at import
    _factory = factory


def get_callback_manager() -> CallbackManager:
    """Return the manager of the current context, or else the process's default one.

    The default manager is made on first use: its handlers are those that ``SPANLOOM_HANDLERS`` names,
    and its flight recorder is on unless ``SPANLOOM_RECORDER`` is 0.
    """
    return _chosen.get() or _default or _make_default()


def _make_default() -> CallbackManager:
    global _default  # noqa: PLW0603 -- made once, on first use, so that an import does nothing
    with _lock:
        if _default is None:
            _default = _factory()
            while _waiting:
                _waiting.pop(0)(_default)
        return _default


def with_default_manager(function: Callable[[CallbackManager], object]) -> None:
    """Call `function` with the process's default manager: now if there is one, else as soon as it is made.

    For set-up before the program itself runs, which may still change the environment from which the default manager is
    made. `function` must not raise: the error would reach the first user of the manager.
    """
    with _lock:
        if _default is None:
            _waiting.append(function)
        else:
            function(_default)


@contextmanager
def use_callback_manager(manager: CallbackManager) -> Iterator[CallbackManager]:
    """Make `manager` the ambient one inside the block, for this task and the tasks it starts.

    The manager is not closed at the end and may be used again.

    Raises:
        TypeError: `manager` is not a `CallbackManager`.
    """
    if not isinstance(manager, CallbackManager):
        raise TypeError(f"use_callback_manager needs a CallbackManager, not {type(manager).__name__}")
    outer = _chosen.get()
    _chosen.set(manager)
    try:
        yield manager
    finally:
        if _chosen.get() is manager:
            _chosen.set(outer)


def current_event() -> Event | None:
    """Return the innermost open event of this context under the ambient manager; ``None`` if there is none."""
    manager = _chosen.get() or _default  # before anyone has needed a manager, nothing can be open
    return None if manager is None else manager.current.get()


def current_attempt() -> int | None:
    """Return the number of the attempt, from 1, in which this context runs; ``None`` if it runs in none.

    The innermost retried call counts. The search ends at the innermost job: an attempt around its batch does not count.
    """
    manager = _chosen.get() or _default
    event = None if manager is None else manager.current.get()
    return None if manager is None or event is None else manager.attempt_around(event)


def link(target: Linkable | Mapping[str, object], /, **attributes: object) -> None:
    """Link the current event to another one that is not its parent; see `EventContext.link`.

    Directly in a job, the current event is the job's. Without a current event this does nothing.

    Args:
        target: An `Event`, an opened `EventContext`, or a W3C carrier.
        attributes: Attributes of the link: numbers, booleans, texts.
    """
    event = current_event()
    if event is not None:
        add_link(data_of(event), target, attributes)


def in_flight() -> list[Event]:
    """Return every open event of the ambient manager, oldest first."""
    return get_callback_manager().in_flight()


def propagate(function: Callable[P, R]) -> Callable[P, R]:
    """Bind `function` to the current context, for a thread or callback that would not see it.

    New threads, ``run_in_executor`` and callbacks of other libraries run without the caller's
    context variables, so their events would be roots of new traces. Each call runs in its own copy
    of the context in which `propagate` was called, so calls may overlap, and what they set is
    dropped when they return. Start a coroutine function as a task instead, which carries the context.

    Raises:
        TypeError: `function` is not callable.
    """
    given: object = function
    if not callable(given):
        hint = "; give the function itself, or start a task" if inspect.isawaitable(given) else ""
        raise TypeError(f"propagate binds a function, not {type(given).__name__}{hint}")
    context = contextvars.copy_context()

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.copy().run(function, *args, **kwargs)

    return call


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 -- it may have been held by a thread that the child does not have
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
