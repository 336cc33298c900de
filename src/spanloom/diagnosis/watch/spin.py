"""BUSY_SPIN: a task, or a callback that schedules itself, is ready at every turn of the loop and gets nothing done.

A loop that has not rested for a while is looked at some sixty times in a fraction of a second. A task that spins is at
work in many of these looks, has been run between them, is always at the same place, and the values that it knows do not
change. A mere counter is no progress, unless the exit of the program's own loop depends on it. Work that is cut into
pieces by ``sleep(0)`` is ready as often, but takes the next item, fills a list or comes nearer to a bound. A loop over
a few things that begins again and again is no such work: there, only values never seen before are progress.

Not all progress can be seen: it may be inside a C object, or a counter among many. So the turns of a loop with such a
task are measured, by a callback of ours that reads its thread's CPU clock: a spinning task takes microseconds a turn, a
computing one more.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import statistics
import sys
import time
import weakref
from asyncio.base_events import BaseEventLoop
from collections import Counter
from collections.abc import Callable, Iterator
from types import CoroutineType
from typing import Any, Final

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.chain import code_of
from spanloom.diagnosis.fields import field, future_done, is_a, task_name
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.history.live import label_of
from spanloom.diagnosis.watch.atwork import AtWork, BareCall, at_work, woken_by
from spanloom.diagnosis.watch.frames import Call, location, place_in, where
from spanloom.diagnosis.watch.progress import (
    Round,
    fingerprint,
    fingerprint_of_call,
    is_bound,
    is_bound_in_function,
    place_of_call,
)
from spanloom.diagnosis.watch.pulse import Pulse, function_of, used_by
from spanloom.diagnosis.watch.reach import await_chain

__all__ = ["spinning"]

RESTLESS_S: Final = 1.0
"""Seconds for which a loop must not have rested."""
RESTLESS_LOOKS: Final = 5
LOOKS: Final = 60
AGAIN_S: Final = 0.1
"""Seconds between looks at a loop that has not rested, but not yet for long enough."""
HELD_S: Final = 0.5
"""Seconds that a step may take, without the time in which the machine runs something else."""
MOST_S: Final = 0.6
"""Seconds of looking, unless there have been few looks by then."""
FEW_LOOKS: Final = 20
LONGEST_S: Final = 2.5
"""Seconds of looking at most, on a busy machine."""
MIN_LOOKS: Final = 6
PRESENT: Final = 0.4
"""Share of the looks in which a spinning task is at work; one that others wake now and then is in fewer."""
IDLE: Final = 0.5
"""Share of the looks with nothing ready from which on a loop rests after all."""
PAUSE_S: Final = 0.004
HAD_TIME_S: Final = 0.001
"""CPU seconds between two looks from which on a thread has computed; the kernel counts in steps of milliseconds."""
ANEW: Final = 0.7
"""Share of the looks at a task in which it had been run since the last one; the others are in the same turn."""
PROGRESS: Final = 0.5
"""Share of the looks with a change from which on something gets done, of those that could show one; another task may
change a little, too. The first look at a place has nothing to compare with; on a busy machine there are few others."""
TURNS: Final = 12
LONG_TURN_S: Final = 0.000_15
"""CPU seconds of a turn from which on something is computed in it; a spinning task takes some ten microseconds."""
LONG_TURN: Final = 6_000
"""The same for slow machines: the time that it takes to count so far, if that is longer."""
TURNS_WITHIN_S: Final = 2.0
_Work = tuple[asyncio.Task[Any] | BareCall, Any]
_SUSPENDABLE: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR

_Shape = tuple[tuple[type, int], ...]
"""The types of the parts of a task's chain, and the identities of their code."""


class _Watched:
    """One task, or bare call, that was ready."""

    def __init__(self, who: asyncio.Task[Any] | BareCall) -> None:
        self.task: weakref.ref[asyncio.Task[Any]] | None = None
        self.name = ""
        if type(who) is BareCall:
            self.name = bare_name(who.function.__qualname__)
        else:
            self.task = weakref.ref(who)
        self.looks = 0
        self.again = 0
        self.compared = 0
        self.changes = 0
        self.counts = 0
        self.counted: Counter[str] = Counter()
        self.places: Counter[Call] = Counter()
        self.handle: weakref.ref[Any] | None = None
        self.prints: dict[_Shape, tuple[dict[str, object], dict[str, float]]] = {}
        self.rounds: set[str] = set()
        self.states: list[tuple[_Shape, dict[str, object]]] = []

    def is_of(self, who: asyncio.Task[Any] | BareCall) -> bool:
        """Tell whether it is about this task or call, not about an earlier one with the same identity."""
        return self.task is None if type(who) is BareCall else self.task is not None and self.task() is who

    def is_at(self, handle: Any) -> bool:
        """Tell whether it was run by this handle when it was last seen."""
        return self.handle is not None and self.handle() is handle

    def note_rounds(self, before: dict[str, object], now: dict[str, object]) -> None:
        """Note the ``for`` loops that have begun anew since the last look."""
        for key, value in now.items():
            if type(value) is Round and value.begins_anew(before.get(key)):
                self.rounds.add(key)

    @property
    def got_on(self) -> int:
        """The number of compared looks with a change; if its loops begin anew, of those with new values."""
        if not self.rounds:
            return self.changes
        known = {
            (shape, frozenset((key, value) for key, value in state.items() if key not in self.rounds))
            for shape, state in self.states
        }
        return len(known) - len(self.prints)

    @property
    def has_ended(self) -> bool:
        """Whether its task is done, or no longer exists."""
        task = None if self.task is None else self.task()
        return self.task is not None and (task is None or future_done(task))


def spinning(pulse: Pulse, look: Callable[[], object]) -> Finding | None:
    """Return the finding on a loop in which a task spins, or ``None``; takes about a second if the loop never rests.

    Args:
        pulse: What has been seen of the loop.
        look: Looks at all loops once more.
    """
    if not _is_restless(pulse, look):
        return None
    loop = pulse.loop()
    if loop is None:
        return None
    watched: dict[tuple[int, int], _Watched] = {}
    began_s = time.monotonic()
    looks = idle = 0
    computed_s = used_by(pulse.thread).cpu_s
    for number in range(LOOKS):
        time.sleep(PAUSE_S)
        if time.monotonic() - began_s > (LONGEST_S if number < FEW_LOOKS else MOST_S):
            break
        before_s, computed_s = computed_s, used_by(pulse.thread).cpu_s
        present, is_new = _look_at(loop, pulse.thread, watched, computed_s - before_s >= HAD_TIME_S)
        looks += is_new
        idle += not present
        del loop  # not to be kept while we sleep
        loop = pulse.loop()
        if loop is None:
            return None
    if idle > IDLE * looks and not is_a(loop, BaseEventLoop):
        return None  # such a loop does not show its turns: sockets wake it as fast as it works
    found = [seen for seen in watched.values() if seen.looks >= PRESENT * looks and _spins(seen)]
    if found and _turn_s(loop) > _long_turn_s():
        still = [one for one in found if not one.got_on and not one.counts]
        others = [seen for seen in watched.values() if seen.looks >= MIN_LOOKS and _gets_on(seen)]
        found = still if others else []  # the task computes, unless others do beside one that spins
    found.sort(key=lambda one: -one.again)
    return _finding(found, time.monotonic() - pulse.rested_s) if found else None


def _look_at(
    loop: asyncio.AbstractEventLoop, thread: int, watched: dict[tuple[int, int], _Watched], had_time: bool
) -> tuple[bool, bool]:
    """Look once; return whether anything runs or is ready, and whether the look tells more than the last one.

    Args:
        loop: The loop.
        thread: The id of its thread.
        watched: What has been seen; updated.
        had_time: Whether the thread has computed since the last look. On a busy machine it often cannot.
    """
    present = at_work(loop, thread)
    is_new = not present
    for key, (who, handle) in (*present.items(), *_makers(present, watched)):
        seen = watched.get(key)
        if seen is None or not seen.is_of(who):
            seen = watched[key] = _Watched(who)
        if had_time or not seen.is_at(handle):
            is_new = True
            _take(seen, handle, who, thread)
    return bool(present), is_new


def _makers(
    present: AtWork, watched: dict[tuple[int, int], _Watched]
) -> Iterator[tuple[tuple[int, int], _Work]]:
    """Yield the waiters of tasks that are at work and were not seen before, as if they were at work themselves.

    Up to Python 3.11 ``wait_for`` makes a task for each call: a task that spins around it mostly waits for that.
    """
    for key, (who, handle) in present.items():
        if type(who) is BareCall or (key in watched and watched[key].is_of(who)):
            continue
        for maker in woken_by(who):
            if (id(maker), 0) not in present:
                yield (id(maker), 0), (maker, handle)


def _is_restless(pulse: Pulse, look: Callable[[], object]) -> bool:
    """Tell whether a loop never rests; if it does not at present, look until it rests or has not for long enough."""
    began_s = time.monotonic()
    while True:
        now_s = time.monotonic()
        if pulse.hold is not None and pulse.hold.own_s(now_s) > HELD_S:
            return False
        if now_s - pulse.rested_s >= RESTLESS_S and pulse.restless_looks >= RESTLESS_LOOKS:
            return True
        if not pulse.restless_looks or now_s - began_s > LONGEST_S:
            return False
        time.sleep(AGAIN_S)
        look()


class _Turns:
    """Measures some turns of a loop that is busy anyway: how long its thread computes in each.

    Args:
        loop: A loop that never rests; any other would be kept awake meanwhile.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.costs_s: list[float] = []
        self._loop = loop
        self._before_s: float | None = None
        loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        now_s = time.thread_time()
        if self._before_s is not None:
            self.costs_s.append(now_s - self._before_s)
        self._before_s = now_s
        if len(self.costs_s) < TURNS:
            self._loop.call_soon(self._turn)


def _turn_s(loop: asyncio.AbstractEventLoop) -> float:
    """Return the CPU seconds of a turn of a busy loop; infinite if it does not turn."""
    try:
        turns = _Turns(loop)
    except RuntimeError:  # it is closed
        return math.inf
    deadline_s = time.monotonic() + TURNS_WITHIN_S
    while len(turns.costs_s) < TURNS and time.monotonic() < deadline_s:
        time.sleep(PAUSE_S)
    return statistics.median(turns.costs_s[:TURNS]) if turns.costs_s else math.inf


def _long_turn_s() -> float:
    """Return the CPU seconds of a turn from which on something is computed in it, on this machine."""
    took_s = []
    for _ in range(3):
        began_s = time.thread_time()
        for _ in range(LONG_TURN):
            pass
        took_s.append(time.thread_time() - began_s)
    return max(LONG_TURN_S, min(took_s))


def _chain(task: asyncio.Task[Any], thread: int) -> list[object]:
    """Return the await chain of a task, outermost first: its coroutines or, while it runs, their frames.

    Frames, as a coroutine that runs does not tell which one it awaits. Empty if it has been suspended just now.
    """
    coroutine = field(task, "_coro")
    if type(coroutine) is not CoroutineType or not coroutine.cr_running:
        return await_chain(task)
    outermost = coroutine.cr_frame
    frame = sys._current_frames().get(thread)  # noqa: SLF001 -- there is no other way
    found: list[object] = []
    while frame is not None:
        if frame.f_code.co_flags & _SUSPENDABLE:
            found.append(frame)
        if frame is outermost:
            return found[::-1]
        frame = frame.f_back
    return []


def _take(seen: _Watched, handle: Any, who: asyncio.Task[Any] | BareCall, thread: int) -> None:
    shape: _Shape = ()
    if type(who) is BareCall:
        place: Call | None = place_of_call(who)
        now = fingerprint_of_call(who)
    else:
        chain = _chain(who, thread)
        if not chain:
            return
        place = place_in(chain)
        now = fingerprint(chain)
        # A running task shows other values than a suspended one, so only looks with the same shape are compared.
        shape = tuple((type(part), id(code_of(part))) for part in chain)
    seen.looks += 1
    if not seen.is_at(handle):
        seen.again += 1
        seen.handle = weakref.ref(handle)
    if place is not None:
        seen.places[place] += 1
    before = seen.prints.get(shape)
    seen.states.append((shape, now[0]))
    seen.prints[shape] = now
    if before is not None:
        seen.compared += 1
        seen.changes += before[0] != now[0]
        seen.note_rounds(before[0], now[0])
        counted = [name for name, value in now[1].items() if before[1].get(name, value) != value]
        seen.counts += bool(counted)
        seen.counted.update(counted)


def _spins(seen: _Watched) -> bool:
    if seen.has_ended or seen.looks < MIN_LOOKS or seen.again < ANEW * seen.looks or not seen.places:
        return False
    if _gets_on(seen):
        return False
    if seen.counts > PROGRESS * seen.compared:
        names = {name for name, count in seen.counted.items() if count > PROGRESS * seen.compared / 2}
        bound = is_bound if seen.task is not None else is_bound_in_function
        return not any(bound(place, names) for place in seen.places)
    return True


def _gets_on(seen: _Watched) -> bool:
    """Tell whether the values that a task knows change often enough."""
    return seen.got_on > PROGRESS * seen.compared


def _finding(found: list[_Watched], since_s: float) -> Finding:
    seen = found[0]
    place = seen.places.most_common(1)[0][0]
    _, who = _called(seen)
    others = [_called(other)[0] for other in found[1:]]
    too = f" So does {', '.join(others[:3])}." if others else ""
    message = (
        f"{who} spins: it is ready at every turn of the loop, in {place.name}() at {where(place)}, and nothing "
        f"that it knows has changed in {seen.looks} looks; it has used up a core for at least {since_s:.1f} s and "
        f"got nothing done.{too} Wait for what it waits for: an asyncio.Event, a Condition, a Queue, or at least a "
        f"sleep that is longer than 0."
    )
    return Finding(
        code="BUSY_SPIN",
        message=message,
        severity="error",
        level="LIKELY",
        jobs=tuple(dict.fromkeys(map(_labelled, found))),
        resource=None,
        location=location(place),
        since_s=since_s,
        evidence=tuple(
            f"{count} of {seen.looks} looks: {where(at)} in {at.name}" for at, count in seen.places.items()
        ),
    )


def _labelled(seen: _Watched) -> str:
    """Return what other rules call the task or call: its function, where the task was given no name."""
    task = None if seen.task is None else seen.task()
    return seen.name if task is None else label_of(task, function_of(task) or task_name(task))


def _called(seen: _Watched) -> tuple[str, str]:
    """Return the name of a task or call, and the words for it in a sentence."""
    task = None if seen.task is None else seen.task()
    if task is None:
        return seen.name, f"callback {seen.name}(), which asks for itself again (call_soon),"
    name, function = task_name(task), function_of(task)
    return name, f"task {name}" if function in {None, name} else f"task {name} ({function})"
