"""LOOP_BLOCKED: one callback, or several in a row, keep the loop from all else that it has to run."""

from __future__ import annotations

import asyncio
import time
from asyncio.base_events import BaseEventLoop
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

from spanloom.diagnosis.fields import (
    callbacks_of,
    closure_of,
    field,
    future_done,
    gathered,
    is_a,
    is_task,
    task_name,
)
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.resting import is_run
from spanloom.diagnosis.watch.frames import Call, is_own, location, where
from spanloom.diagnosis.watch.loops import HANDLE_RUN
from spanloom.diagnosis.watch.pulse import LONG_S, Hold, Pulse

__all__ = ["blocked", "described", "evidence_of", "jobs_of", "tasks_of", "victims", "wakes_for"]

ONCE_S: Final = 1.0
"""A single hold that has lasted so long is a finding while it goes on: clients have given up by then."""
ALONE_S: Final = 2.0
"""The same if only tasks are kept waiting that wait for the holder anyway."""
SHARE: Final = 0.6
"""Several holds are a finding if together they take this fraction of the last `SPAN_S` seconds."""
SPAN_S: Final = 3.0
ENOUGH_LOOKS: Final = 3
AGAIN_S: Final = 0.05
COMPUTING_S: Final = 0.4
"""So many seconds of a hold must be its own time, not that of other processes on the same cores.

For `SHARE`, holds in which the thread computes count only from this length on: shorter ones are work cut into pieces.
"""


def blocked(pulse: Pulse, now_s: float, look: Callable[[], object]) -> Finding | None:
    """Return the finding on a loop that is blocked, or ``None``. May look again for some seconds to be sure.

    Args:
        pulse: What has been seen of the loop.
        now_s: The monotonic time of the last look.
        look: Looks at all loops once more.
    """
    loop = pulse.loop()
    if loop is None or not is_run(loop):
        return None
    hold = pulse.hold
    if hold is not None and hold.lasts_s(now_s) >= ONCE_S and hold.own_s(now_s) >= COMPUTING_S:
        waiting = victims(loop, hold)
        if not waiting and hold.lasts_s(now_s) >= ALONE_S:
            waiting = _awaiting(loop, hold)
        return _one(hold, now_s, waiting) if waiting and _stays(hold, look) else None
    return _many(loop, pulse, _grown(pulse, now_s, look))


def _stays(hold: Hold, look: Callable[[], object]) -> bool:
    """Tell whether a hold goes on for some more looks: on a busy machine all threads may stand still for a second."""
    deadline_s = time.monotonic() + ONCE_S
    while sum(hold.places.values()) < ENOUGH_LOOKS and hold.ended_s is None and time.monotonic() < deadline_s:
        time.sleep(AGAIN_S)
        look()
    return hold.ended_s is None


def _one(hold: Hold, now_s: float, waiting: list[str]) -> Finding:
    place = hold.place
    lasts_s = hold.lasts_s(now_s)
    who = described(hold)
    what = f"in {place.name}() at {where(place)}" if place is not None else "in code that has no line"
    message = (
        f"{who} has kept the event loop's thread for {lasts_s:.1f} s, {what}; meanwhile nothing else "
        f"runs on this loop ({_some(waiting)}). {_cure(hold)}"
    )
    return Finding(
        code="LOOP_BLOCKED",
        message=message,
        severity="error",
        level="PROVEN",
        jobs=jobs_of(hold),
        resource=None,
        location=location(place),
        since_s=lasts_s,
        evidence=tuple(evidence_of(hold)),
    )


def _grown(pulse: Pulse, now_s: float, look: Callable[[], object]) -> float:
    """Watch a loop that has been known for too short a time, if it was held for much of it; return the time then.

    Otherwise there would be no answer in the first second of a program.
    """
    span_s = now_s - pulse.first_s
    held_s = sum(part_s for part_s, _ in _parts(pulse, pulse.first_s, now_s))
    if span_s >= SPAN_S / 2 or held_s < SHARE / 2 * span_s or not held_s:
        return now_s
    while time.monotonic() < pulse.first_s + SPAN_S / 2:
        time.sleep(LONG_S)  # not more often: shorter holds must not be added up
        look()
    return max(now_s, time.monotonic())


def _parts(pulse: Pulse, from_s: float, now_s: float) -> list[tuple[float, Hold]]:
    """Return the holds that count, each with its seconds between the two times."""
    parts = [(part_s, hold) for at_s, part_s, hold in list(pulse.waited) if at_s >= from_s]
    parts += [
        (min((hold.ended_s or now_s) - max(from_s, hold.began_s), hold.own_s(now_s)), hold)
        for hold in pulse.recent(now_s)
        if hold.computes and hold.own_s(now_s) >= COMPUTING_S
    ]
    return parts


def _many(loop: asyncio.AbstractEventLoop, pulse: Pulse, now_s: float) -> Finding | None:
    from_s = max(now_s - SPAN_S, pulse.first_s)
    span_s = now_s - from_s
    parts = _parts(pulse, from_s, now_s)
    if span_s < SPAN_S / 2 or len(parts) < 2:
        return None
    shares: dict[tuple[str | None, Call | None], float] = defaultdict(float)
    last: dict[tuple[str | None, Call | None], Hold] = {}
    for part_s, hold in parts:
        key = hold.function, hold.place
        shares[key] += max(0.0, part_s)
        last[key] = hold
    total_s = min(sum(shares.values()), span_s)
    if total_s < SHARE * span_s:
        return None
    worst = max(shares, key=shares.__getitem__)
    hold = last[worst]
    waiting = victims(loop, hold)
    if not waiting:
        return None
    longest_s = max((hold.lasts_s(now_s) for hold in pulse.recent(now_s)), default=0.0)
    names = Counter(hold.task for _, hold in parts if hold.task is not None)
    at_once = f", up to {longest_s:.1f} s at once" if longest_s else ""
    at = f"{hold.place.name if hold.place else '?'}() at {where(hold.place)}"
    message = (
        f"{described(hold)} and others like it keep the event loop's thread for {total_s / span_s:.0%} of the time"
        f"{at_once}, in {at}; meanwhile nothing else runs on this loop ({_some(waiting)}). {_cure(hold)}"
    )
    return Finding(
        code="LOOP_BLOCKED",
        message=message,
        severity="error",
        level="PROVEN",
        jobs=tuple(name for name, _ in names.most_common(10)) or jobs_of(hold),
        resource=None,
        location=location(hold.place),
        since_s=span_s,
        evidence=tuple(evidence_of(hold)),
    )


def described(hold: Hold) -> str:
    """Return in words what holds the loop."""
    if hold.task is None:
        name = hold.outermost()
        return f"callback {name}()" if name else "a callback"
    if hold.function is None or hold.function == hold.task:
        return f"task {hold.task}"
    return f"task {hold.task} ({hold.function})"


def jobs_of(hold: Hold) -> tuple[str, ...]:
    """Return the name of the task or function that holds the loop."""
    name = hold.task or hold.outermost()
    return (name,) if name else ()


def _cure(hold: Hold) -> str:
    if hold.computes:
        return "Compute in a process or a thread (asyncio.to_thread), or give the loop a turn now and then."
    return "Call what blocks in a thread (await asyncio.to_thread(...)), or use its async counterpart."


def evidence_of(hold: Hold) -> Iterator[str]:
    """Yield in words where the callback was found how often, and the stack of the last look."""
    total = sum(hold.places.values())
    for place, count in hold.places.most_common(5):
        yield f"{count} of {total} looks: {where(place)} in {place.name}"
    for call in hold.stack[:30]:
        if call.code is HANDLE_RUN:
            return
        yield f"  {where(call)} in {call.name}" + ("" if is_own(call.code) else " (not the program's)")


# what is kept waiting -------------------------------------------------------------------------------------


def victims(loop: asyncio.AbstractEventLoop, hold: Hold) -> list[str]:
    """Return in words what could run on `loop` but for the hold: tasks, callbacks, timers that are due, sockets.

    Without tasks that wait for the holder's own task: they would wait anyway.
    """
    own = None if hold.own is None else hold.own()
    found: list[str] = []
    for task in tasks_of(loop):
        if task is own or future_done(task):
            continue
        if own is None or not _waits_only_for(task, own):
            found.append(task_name(task))
            if len(found) >= 100:
                break
    if not found and is_a(loop, BaseEventLoop):
        found += _plumbing(loop)
    return found


def _awaiting(loop: asyncio.AbstractEventLoop, hold: Hold) -> list[str]:
    """Return the tasks that wait for the holder's own: they cannot be cancelled meanwhile, nor a signal handled."""
    own = None if hold.own is None else hold.own()
    return [task_name(task) for task in tasks_of(loop) if task is not own and not future_done(task)][:100]


def tasks_of(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """Return the tasks of `loop` that have not ended; from any thread."""
    for _ in range(10):
        try:
            return list(asyncio.all_tasks(loop))
        except RuntimeError:  # 3.11: the set of tasks has changed under it
            time.sleep(0.001)
    return []


def _waits_only_for(task: asyncio.Task[Any], own: asyncio.Task[Any]) -> bool:
    todo: list[object] = [task]
    seen: set[int] = set()
    while todo:
        waiter = todo.pop()
        if waiter is own or id(waiter) in seen:
            continue
        seen.add(id(waiter))
        if is_task(waiter):
            next_ = field(waiter, "_fut_waiter")
            if next_ is None:
                return False  # it could run at once
            todo.append(next_)
            continue
        children = gathered(waiter)
        if children:
            todo += [child for child in children if not future_done(child)]
            continue
        if not wakes_for(waiter, own):
            return False
    return True


def wakes_for(waiter: object, own: asyncio.Task[Any]) -> bool:
    """Tell whether the end of `own` resolves a bare future, as with ``wait``, a TaskGroup or ``shield``."""
    for callback in callbacks_of(own):
        if any(value is waiter for value in closure_of(callback).values()):
            return True
        group = field(callback, "__self__")
        if group is not None and field(group, "_on_completed_fut") is waiter:
            return len(field(group, "_tasks", ())) <= 1
    return False


def _plumbing(loop: BaseEventLoop) -> list[str]:
    ready = field(loop, "_ready", ())
    found = ["callbacks that are ready"] if len(ready) > 0 else []
    timers = field(loop, "_scheduled", ())
    if any(not field(timer, "_cancelled") for timer in list(timers)):
        found.append("timers")
    if len(field(field(loop, "_selector"), "_fd_to_key", ())) > 1:  # one is the loop's own
        found.append("sockets")
    return found


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return f"{shown} wait" if len(names) <= 3 else f"{shown} and {len(names) - 3} more wait"
