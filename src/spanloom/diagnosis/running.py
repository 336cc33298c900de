"""The running threads, and the loops in them."""

from __future__ import annotations

import sys
import threading
from asyncio import base_events, runners
from collections.abc import Iterable
from types import FrameType
from typing import Any, NamedTuple, cast

from spanloom.diagnosis.fields import field
from spanloom.diagnosis.variables import variables_of

__all__ = ["Running", "let_go", "loop_of", "running_threads"]


class Running(NamedTuple):
    """A thread.

    Attributes:
        ident: As `threading.get_ident` gives it.
        name: Its name.
        frames: Its stack, innermost frame first.
        loop: The loop that it runs, or ``None``.
        at: Index in `frames` of the frame that runs the loop; -1 without a loop.
        main: The task that `asyncio.Runner` runs the loop for, if known.
    """

    ident: int
    name: str
    frames: list[FrameType]
    loop: Any
    at: int
    main: Any


def let_go(threads: Iterable[Running]) -> None:
    """Drop the frames of threads.

    Those of the looking thread are among them: with this list as a variable they form a reference cycle, and whole
    snapshots would wait for the garbage collector.
    """
    for thread in threads:
        thread.frames.clear()


def running_threads() -> list[Running]:
    """Return all threads that have a Python frame. Pass them to `let_go` afterwards."""
    names = {thread.ident: thread.name for thread in list(threading._active.values())}  # type: ignore[attr-defined] # noqa: SLF001 -- enumerate() takes a lock that a blocked thread may hold
    found = []
    innermost = sys._current_frames()  # noqa: SLF001 -- its documented name
    while innermost:
        ident, frame = innermost.popitem()
        frames = _outwards(frame)
        del frame  # it may be this one
        loop, at, main = _loop_of(frames)
        found.append(Running(ident, names.get(ident, f"thread {ident}"), frames, loop, at, main))
    return found


def _outwards(innermost: FrameType) -> list[FrameType]:
    frames = []
    frame: FrameType | None = innermost
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


_RUN_FOREVER = base_events.BaseEventLoop.run_forever.__code__
_RUNS = frozenset({"run_forever", "run_until_complete"})
_RUN = runners.Runner.run.__code__


def _loop_of(frames: list[FrameType]) -> tuple[Any, int, Any]:
    """Return the loop that a thread runs, the index of the frame that runs it, and the main task if that is known."""
    for at, frame in enumerate(frames):
        if frame.f_code is _RUN_FOREVER:
            return variables_of(frame).get("self"), at, None
        if frame.f_code is _RUN:
            variables = variables_of(frame)
            loop = field(variables.get("self"), "_loop")
            if loop is not None:
                return loop, at, variables.get("task")
    if not any(_compiled_loops()):
        return None, -1, None
    for at, frame in enumerate(frames):
        if _RUNS.isdisjoint(frame.f_code.co_names):
            continue
        for value in cast("Iterable[Any]", variables_of(frame).values()):
            if type(value) in _compiled_loops() and value.is_running():
                return value, at, None
    return None, -1, None


def _compiled_loops() -> tuple[type, ...]:
    module = sys.modules.get("uvloop")
    found = getattr(module, "Loop", None)
    return () if found is None else (found,)


def loop_of(task: Any) -> Any:
    """Return the loop of a task."""
    return field(task, "_loop")
