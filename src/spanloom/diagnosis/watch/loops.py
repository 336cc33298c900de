"""What the running loops do, seen from another thread, with nothing scheduled on them.

No heartbeat by ``call_later``: that would wake the loop, and so change what a hanging program does. A future that was
set from the wrong thread, without ``call_soon_threadsafe``, takes effect at the next turn.

Each turn of an asyncio loop is one call of ``_run_once``. Its first half polls for sockets and timers; the variable
``timeout`` tells for how long. Its second half runs the ready callbacks; ``end_time`` is when it began, and ``i`` the
number of the callback. If both are the same in two looks, the loop has not moved.

Loops in C, as uvloop's, show only their current task. On these a callback is scheduled, thread-safely, but only while
the loop is found at work: then it does not wait, and so is not woken.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.base_events import BaseEventLoop
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Final

import msgspec

from spanloom.diagnosis.chain import link_of
from spanloom.diagnosis.fields import field
from spanloom.diagnosis.registry import current_tasks

__all__ = ["HANDLE_RUN", "RUN_ONCE", "LoopNow", "current_task", "see_loops"]

RUN_ONCE: Final[CodeType] = BaseEventLoop._run_once.__code__  # type: ignore[attr-defined]  # noqa: SLF001 -- it is what is looked for
_RUN_FOREVER: Final = BaseEventLoop.run_forever.__code__
_RUNNER: Final = asyncio.Runner.run.__code__
HANDLE_RUN: Final = asyncio.Handle._run.__code__  # noqa: SLF001 -- the same
MAX_WALK: Final = 1_000
"""Frames walked outwards in search of a loop. A loop below a deeper recursion is found by its task."""


class LoopNow(msgspec.Struct, frozen=True):
    """One running loop at one moment.

    Attributes:
        loop: The loop; not to be kept.
        thread: The id of its thread.
        turn: When the callbacks of the present turn began, on the loop's clock, which identifies the turn; ``None`` if
            unknown.
        place: Number of the callback that runs.
        polls: Whether it polls for sockets and timers.
        pause_s: While it polls: for how many seconds at most; ``None`` without end.
        task: The task whose step is running.
        is_native: Whether it is a loop that shows its turns.
    """

    loop: asyncio.AbstractEventLoop
    thread: int
    turn: float | None
    place: int
    polls: bool
    pause_s: float | None
    task: asyncio.Task[Any] | None
    is_native: bool


def current_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    """Return the task of `loop` that runs now; from any thread."""
    try:
        return asyncio.current_task(loop)
    except RuntimeError:  # changed meanwhile
        return None


def see_loops(frames: dict[int, FrameType]) -> list[LoopNow]:
    """Return the loops that run in the threads of `frames`, the result of ``sys._current_frames()``."""
    found: list[LoopNow] = []
    for thread, frame in frames.items():
        now = _native(thread, frame)
        if now is not None:
            found.append(now)
    if "uvloop" in sys.modules:
        known = {id(now.loop) for now in found}
        for loop, thread, base in _others(frames):
            if id(loop) not in known:
                known.add(id(loop))
                task = current_task(loop)
                polls = task is None and (base is None or frames[thread] is base)
                found.append(LoopNow(loop, thread, None, 0, polls, None, task, False))
    return found


def _native(thread: int, top: FrameType) -> LoopNow | None:
    frame: FrameType | None = top
    inner: FrameType | None = None
    for _ in range(MAX_WALK):
        if frame is None:
            return None
        code = frame.f_code
        if code is RUN_ONCE:
            return _turn(thread, frame, inner)
        if code is _RUN_FOREVER:  # between two turns
            loop = frame.f_locals.get("self")
            return None if loop is None else LoopNow(loop, thread, None, 0, True, 0.0, None, True)
        inner, frame = frame, frame.f_back
    return None


def _turn(thread: int, frame: FrameType, inner: FrameType | None) -> LoopNow:
    names = dict(frame.f_locals)  # of the loop's own frame, which ends with the turn
    loop = names["self"]
    is_running = "handle" in names and "end_time" in names and "ntodo" in names
    del names["self"]
    if is_running:
        turn, index = names["end_time"], names.get("i", 0)
        return LoopNow(loop, thread, turn, index, False, None, current_task(loop), True)
    # Before the second half, the loop only calls the selector and handles its events.
    pause_s = names.get("timeout")
    return LoopNow(loop, thread, None, 0, True, pause_s if inner is not None else 0.0, None, True)


def _others(
    frames: dict[int, FrameType],
) -> Iterator[tuple[asyncio.AbstractEventLoop, int, FrameType | None]]:
    """Yield the running loops that are not asyncio's own, with their threads' ids and the frames that run them."""
    for thread, top in frames.items():
        frame: FrameType | None = top
        for _ in range(MAX_WALK):
            if frame is None:
                break
            if frame.f_code is _RUNNER:
                loop = field(frame.f_locals.get("self"), "_loop")
                if loop is not None and not isinstance(loop, BaseEventLoop):
                    yield loop, thread, frame
                break
            frame = frame.f_back
    for loop, task in current_tasks().values():
        if isinstance(loop, BaseEventLoop):
            continue
        link = link_of(field(task, "_coro"))
        own = None if link is None else link.frame
        for thread, top in frames.items():
            frame = top
            for _ in range(MAX_WALK):
                if frame is None:
                    break
                if frame is own:
                    yield loop, thread, None
                    break
                frame = frame.f_back


def since(now: LoopNow) -> float | None:
    """Return for how many seconds the callbacks of the turn have run; ``None`` if the loop has another clock."""
    if now.turn is None or type(now.loop).time is not BaseEventLoop.time:
        return None
    return max(0.0, time.monotonic() - now.turn)
