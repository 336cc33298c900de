"""SLOT_HOG: all slots of a limiter are held by jobs that sleep before their next try."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from spanloom.diagnosis.fields import loop_of
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.history.live import with_task
from spanloom.diagnosis.history.rules.words import finding, listed, near, seconds
from spanloom.diagnosis.history.sight import Sight, place_of_batch
from spanloom.diagnosis.owed import given_back

if TYPE_CHECKING:
    from spanloom.diagnosis.history.memory import Memory

__all__ = ["slot_hogs"]

_ASKED: Final = 20
"""Possible holders of a pool's items that are checked for giving back, at most."""
LEAST_S: Final = 2.0
"""Seconds that each of the pauses must last: in a healthy batch, all slots may pause for a moment."""


def slot_hogs(memory: Memory, sights: list[Sight]) -> Iterator[Finding]:
    """Yield a finding for each limiter, pool or batch all of whose slots are held in that way."""
    yield from _of_limiters(sights)
    yield from _of_queues(sights)
    yield from _of_batches(memory, sights)


def _of_limiters(sights: list[Sight]) -> Iterator[Finding]:
    wanted: dict[int, list[Sight]] = {}
    for sight in sights:
        if sight.wants is not None:
            wanted.setdefault(sight.wants[0], []).append(sight)
    for key, waiting in wanted.items():
        holding = _holders(key, waiting, sights)
        if holding and all(_pauses(sight) for sight in holding):
            name = waiting[0].wants[1] if waiting[0].wants else ""
            yield _finding(
                name, holding, f"{len(waiting)} more queue for one", [sight.name for sight in waiting]
            )


def _of_queues(sights: list[Sight]) -> Iterator[Finding]:
    """Check pools made of a queue or a condition: a task that pauses holds an item if it will give one back.

    Who takes one after the other in a loop is a worker, and what it takes is work, which may come back if it fails.
    """
    wanted: dict[int, list[Sight]] = {}
    for sight in sights:
        if sight.takes is not None and not sight.takes_by_and_by:
            wanted.setdefault(sight.takes[0], []).append(sight)
    pausing = [sight for sight in sights if _pauses(sight)] if wanted else []
    for key, waiting in wanted.items():
        functions = {sight.function for sight in waiting}
        alike = [sight for sight in sights if sight.function in functions and sight.takes != waiting[0].takes]
        holding = [sight for sight in pausing if sight.function in functions]
        if holding and len(holding) == len(alike) and all(key in _owed(sight) for sight in holding[:_ASKED]):
            name = waiting[0].takes[1] if waiting[0].takes else ""
            queued = f"{len(waiting)} more wait for one"
            yield _finding(name, holding, queued, [sight.name for sight in waiting])


def _owed(sight: Sight) -> frozenset[int]:
    """Return the identities of the queues and conditions that a task will give back to."""
    found: list[frozenset[int]] = []
    with_task(sight.ref, lambda task: found.append(given_back(task, loop_of(task))))
    return found[0] if found else frozenset()


def _holders(key: int, waiting: list[Sight], sights: list[Sight]) -> list[Sight]:
    """Return who holds a limiter.

    Who is in a block of it, or else those who do what the waiting do, and do not wait.
    """
    inside = [
        sight for sight in sights if key in sight.holds and (sight.wants is None or sight.wants[0] != key)
    ]
    if inside:
        return inside
    # Jobs of ours do not hold their slots themselves: the runner, which waits for the next one, took them.
    functions = {sight.function for sight in waiting}
    alike = [sight for sight in sights if sight.function in functions and sight.wants is None]
    return [sight for sight in alike if sight.pause is not None] if all(map(_pauses, alike)) else []


def _of_batches(memory: Memory, sights: list[Sight]) -> Iterator[Finding]:
    """Check spanloom's own batches, in which each started job holds a slot."""
    for event_id, batch in memory.batches.running.items():
        limit = memory.batches.limit_of(event_id)
        if limit is None or not batch.samples:
            continue
        engine, name, size = limit
        _, ended, in_flight = batch.samples[-1]
        jobs = [sight for sight in sights if sight.engine == engine]
        if not jobs or len(jobs) < in_flight or not all(map(_pauses, jobs)):
            continue
        if batch.total is not None and ended + in_flight >= batch.total:
            continue
        if size is not None and in_flight < size:
            continue
        queued = (
            "more are queued" if batch.total is None else f"{batch.total - ended - in_flight} more are queued"
        )
        yield _finding(name or batch.name, jobs, queued, [], place_of_batch(sights))


def _pauses(sight: Sight) -> bool:
    pause = sight.pause
    return pause is not None and pause.before_try and pause.delay_s >= LEAST_S


def _finding(
    name: str, holding: list[Sight], queued: str, waiting: list[str], batch: str | None = None
) -> Finding:
    first = min(holding, key=lambda sight: sight.pause.left_s if sight.pause else 0.0)
    pauses = [sight.pause for sight in holding if sight.pause is not None]
    place = batch if first.at is None else first.at.location
    names = list(dict.fromkeys(sight.name for sight in holding))
    functions = list(dict.fromkeys(sight.function for sight in holding))
    after = next((pause.reason for pause in pauses if pause.reason), None)
    because = "" if after is None else f" after {after}"
    tasks = "" if set(names) <= set(functions) else f" ({listed(names)})"
    return finding(
        "SLOT_HOG",
        "LIKELY",
        f"{'The only slot' if len(holding) == 1 else f'All {len(holding)} slots'} of `{name}` "
        f"{'is' if len(holding) == 1 else 'are'} held by jobs of {listed(functions)}{tasks} that sleep "
        "before their next "
        f"try{because}, for {seconds(max(pause.delay_s for pause in pauses))} each, "
        f"{seconds(min(pause.left_s for pause in pauses))} more "
        f"at least, at {near(place)}, while {queued}. Give the slot back before the pause: take it anew "
        "around each attempt.",
        jobs=[*names[:20], *waiting[:5]],
        resource=name,
        location=place,
        since_s=max(pause.delay_s - pause.left_s for pause in pauses),
        evidence=[
            f"{sight.name}: {seconds(sight.pause.left_s)} of its pause are left"
            for sight in holding[:10]
            if sight.pause
        ],
    )
