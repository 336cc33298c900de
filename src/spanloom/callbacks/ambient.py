"""The ambient manager: the one that runners use when nobody names another."""

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
    """Say how the process's default manager is made, the first time someone needs it."""
    global _factory  # noqa: PLW0603 -- set once by the composition root, at import
    _factory = factory


def get_callback_manager() -> CallbackManager:
    """Return the manager of the current context, or else the process's default one.

    The default manager is made on first use: its flight recorder is on, and its handlers are those
    named by the environment variable ``SPANLOOM_HANDLERS``.
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

    For what is set up before the program itself runs, which may still change the environment that the default manager
    is made from. `function` must not raise: the first who needs a manager would be told.
    """
    with _lock:
        if _default is None:
            _waiting.append(function)
        else:
            function(_default)


@contextmanager
def use_callback_manager(manager: CallbackManager) -> Iterator[CallbackManager]:
    """Make `manager` the ambient one inside the block, for this task and the tasks it starts.

    The manager is not closed at the end: it may be used again.
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
    """Return which attempt of a retried call this context is in, from 1; ``None`` if it is in none.

    The innermost retried call counts. A job that does not retry as a whole is in no attempt, and neither is a batch
    inside of one.
    """
    manager = _chosen.get() or _default
    event = None if manager is None else manager.current.get()
    return None if manager is None or event is None else manager.attempt_around(event)


def link(target: Linkable | Mapping[str, object], /, **attributes: object) -> None:
    """Link the current event to another one that is not its parent; see `EventContext.link`.

    In a job, this is the job's event. Without a current event there is nothing to link, and nothing happens.

    Args:
        target: An `Event`, an opened `EventContext`, or a W3C carrier.
        attributes: What there is to say of the link: numbers, booleans, texts.
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
    of the context in which `propagate` was called: calls may overlap, and what they set is gone
    when they return. A coroutine function is better started as a task, which carries the context.

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
    global _lock  # noqa: PLW0603 -- the thread that was making the manager, and held it, is not here
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
