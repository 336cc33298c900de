"""Failures of coroutines sent to a loop from another thread, whose futures nobody has kept.

asyncio copies the exception of such a task into the future of `run_coroutine_threadsafe`, and so counts it as
retrieved; a future of `concurrent.futures` never reports one. So the copying is watched. A future that
is freed as soon as the loop drops the callback that copied, and that has no done-callbacks, was kept by nothing
but asyncio.

A compiled loop, such as uvloop's, has no frame that shows which callback it runs. What it frees itself, outside of any
callback and within a millisecond, it has freed together with the callback that copied.
"""

from __future__ import annotations

import asyncio
import sys
import time
import weakref
from asyncio import base_events, futures
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import msgspec

from spanloom.diagnosis.fields import field
from spanloom.diagnosis.history.complaints import Lost, lost_with
from spanloom.diagnosis.variables import variables_of

__all__ = ["Dropped"]

MAX_DEPTH: Final = 10
"""Frames between the copying and the loop, at most."""
MAX_HELD: Final = 200
"""Failed futures that somebody has kept, and that are known until they are freed; at most."""
RUN_ONCE: Final[CodeType] = base_events.BaseEventLoop._run_once.__code__  # type: ignore[attr-defined]  # noqa: SLF001 -- a turn of a loop
_COPYING: Final = frozenset({__file__, futures.__file__})
"""Files of the functions that copy."""
AT_ONCE_S: Final = 0.001
"""Seconds between the copying and the end of the callback around it, at most."""
_NAME: Final = "_set_concurrent_future_state"


class Dropped:
    """Notes such failures, between `listen` and `stop`.

    Args:
        note: Called with each loss.
    """

    def __init__(self, note: Callable[[Lost], object]) -> None:
        self._note = note
        self._original: Any = None
        self._listener: Any = None
        self._held: set[weakref.ref[Any]] = set()

    def listen(self) -> None:
        """Begin to note failures, if this Python copies in the known way."""
        original = getattr(futures, _NAME, None)
        if self._listener is not None or original is None:
            return

        def copy(concurrent: Any, source: Any) -> None:
            try:
                lost = _lost(concurrent, source)
            except Exception:  # noqa: BLE001 -- the future must be resolved, whatever was seen of it
                lost = None
            original(concurrent, source)
            if lost is not None:
                with suppress(Exception):
                    self._hold(concurrent, lost)

        self._original, self._listener = original, copy
        setattr(futures, _NAME, copy)

    def stop(self) -> None:
        """Hear nothing any more."""
        if self._listener is not None and getattr(futures, _NAME) is self._listener:
            setattr(futures, _NAME, self._original)
            self._listener = None

    def _hold(self, concurrent: Any, lost: Lost) -> None:
        turn = _turn_around(sys._getframe())  # noqa: SLF001 -- the documented way to a frame
        if turn is None or len(self._held) >= MAX_HELD:
            return

        def gone(reference: weakref.ref[Any]) -> None:
            self._held.discard(reference)
            if _is_just_after(turn, sys._getframe(1)):  # noqa: SLF001 -- as above
                self._note(lost)

        self._held.add(weakref.ref(concurrent, gone))


class _Turn(msgspec.Struct, frozen=True):
    """A callback of a loop.

    Attributes:
        loop: Identity of the loop; of a compiled one, of the frame that runs it.
        began: When its turn began, on the loop's clock; ``None`` for a compiled one.
        number: Which callback of that turn it is.
        at_s: When that copied, by `time.monotonic`.
    """

    loop: int
    began: object
    number: int
    at_s: float


def _turn_around(frame: FrameType | None) -> _Turn | None:
    """Return the callback in which `frame` is; ``None`` if that is not to be seen."""
    is_hidden = not isinstance(asyncio._get_running_loop(), BaseEventLoop)  # noqa: SLF001 -- it asks for no exception
    for _ in range(MAX_DEPTH):
        if frame is None:
            return None
        if frame.f_code is RUN_ONCE:
            return _turn(frame)
        if is_hidden and frame.f_code.co_filename not in _COPYING:
            return _Turn(id(frame), None, 0, time.monotonic())
        frame = frame.f_back
    return None


def _turn(frame: FrameType) -> _Turn:
    names = variables_of(frame)
    number = names.get("i")
    number = number if type(number) is int else 0
    return _Turn(id(names.get("self")), names.get("end_time"), number, time.monotonic())


def _is_just_after(done: _Turn, frame: FrameType) -> bool:
    """Tell whether a loop just drops the callback that was `done`: before its next one, or at the end of the turn."""
    if done.began is None:
        return id(frame) == done.loop and time.monotonic() - done.at_s < AT_ONCE_S
    if frame.f_code is not RUN_ONCE:
        return False
    now = _turn(frame)
    return (now.loop, now.began) == (done.loop, done.began) and 0 <= now.number - done.number <= 1


def _lost(concurrent: Any, source: Any) -> Lost | None:
    """Return what is lost if nobody has the future of a task; ``None`` if it has not failed, or has a callback."""
    error = field(source, "_exception")
    if not isinstance(source, asyncio.Task) or not isinstance(error, Exception):
        return None
    callbacks = field(concurrent, "_done_callbacks", ())
    # asyncio's own callbacks do not read the result.
    passed_on = sum(type(one) is FunctionType and one.__module__ == "asyncio.futures" for one in callbacks)
    is_told = len(callbacks) > passed_on or passed_on > 1
    if is_told or field(concurrent, "_waiters") or field(field(concurrent, "_condition"), "_waiters"):
        return None
    return lost_with(error, source)
