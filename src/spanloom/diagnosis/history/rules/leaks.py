"""TASK_LEAK: tasks of one kind that are made at a steady rate and do not end.

A task that another one stands and waits for is not leaked, whatever their number: a crawler makes a task for each page
and gathers those of its links. Nor are tasks that queue for a slot, as long as that moves, nor those of which each has
an owner that lives, as the heartbeat of a connection that is open.

A task that runs none of the program's own functions, as ``create_task(stop.wait())``, is counted by what it waits with.
It leaks if the program itself has made it, nobody refers to it any more, and it has no done-callback of asyncio's.
"""

from __future__ import annotations

from asyncio import locks, queues
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.history.census import Kind
from spanloom.diagnosis.history.live import is_let_go
from spanloom.diagnosis.history.owners import owned
from spanloom.diagnosis.history.rules.words import finding, near, seconds, times
from spanloom.diagnosis.history.sight import MAX_SEEN, Sight
from spanloom.diagnosis.origin import belongs_to_us, is_own, is_standard
from spanloom.diagnosis.waits import is_io

if TYPE_CHECKING:
    from spanloom.diagnosis.history.memory import Memory

__all__ = ["leaks"]

LEAST_S: Final = 2.0
"""Seconds for which they must have been made."""
LEAST: Final = 12
"""By how many their number must have grown in that time."""
BINS: Final = 5
"""Equal parts of that time.

In each of which their number must have grown by at least a third of the usual.
"""
MAX_ENDED: Final = 0.1
"""Share of those made in that time that may have ended, at most."""
LATE: Final = 0.4
"""The last part of that time, in which one must have ended if they queue."""
SOON_S: Final = 60.0
"""A task whose sleep is over within so many seconds may end soon."""
ROUNDS: Final = 2
"""How often a task that sleeps in a loop is assumed to sleep again before it may end."""
LOOKED: Final = 20
"""Tasks of one kind that are looked at one by one."""
_WAITING: Final = frozenset({locks.__file__, queues.__file__})


def leaks(memory: Memory, sights: list[Sight]) -> Iterator[Finding]:
    """Yield a finding for each kind of task that leaks, the fastest first."""
    by_code: dict[object, list[Sight]] = {}
    for sight in sights:
        code = next((step.code for step in sight.chain if step.is_own), None)
        if code is None and _is_dropped_wait(sight):
            code = sight.chain[0].code
        by_code.setdefault(code, []).append(sight)
    outside = {sight.key for sight in sights if _waits_outside(sight)}
    found: list[tuple[float, Finding]] = []
    for kind in memory.census.kinds.values():
        growth = _growth(kind)
        members = by_code.get(kind.code, [])
        if (
            growth is None
            or not members
            or not _stay(members, outside)
            or _queue(kind, members, sights, outside)
        ):
            continue
        if _have_owners(members, sights):
            continue
        if not is_own(kind.code.co_filename) and not _are_dropped(memory, kind, members):
            continue
        rate, since_s = growth
        found.append((rate, _finding(memory, kind, members, rate, since_s)))
    yield from (each for _, each in sorted(found, key=lambda pair: -pair[0]))


def _is_dropped_wait(sight: Sight) -> bool:
    """Tell whether a task runs nothing but a wait of asyncio's, and nobody is told when that ends."""
    if sight.is_awaited or not all(is_standard(step.code.co_filename) for step in sight.chain):
        return False
    return bool(sight.chain) and (sight.pause is not None or sight.chain[-1].code.co_filename in _WAITING)


def _growth(kind: Kind) -> tuple[float, float] | None:
    """Return how many more there are a second, and for how long that has been so.

    ``None`` if they do not leak.
    """
    samples = list(kind.samples)
    if len(samples) < BINS:
        return None
    began, end = samples[0][0], samples[-1][0]
    span = end - began
    if span < LEAST_S:
        return None
    first, last = samples[0], samples[-1]
    grown, made, ended = last[1] - first[1], last[2] - first[2], last[3] - first[3]
    if grown < LEAST or ended > made * MAX_ENDED:
        return None
    marks = []
    for number in range(BINS + 1):
        wanted = began + span * number / BINS
        marks.append(min(samples, key=lambda sample: abs(sample[0] - wanted)))
    for before, after in pairwise(marks):
        usual = grown * (after[0] - before[0]) / span
        # Less is a pause, and more a burst: a batch, and no leak.
        if not usual / 3 - 1 <= after[1] - before[1] <= usual * 3 + 2:
            return None
    return grown / span, span


def _are_dropped(memory: Memory, kind: Kind, members: list[Sight]) -> bool:
    """Tell whether the program makes tasks that run nothing of its own, and has let go of nearly all of them."""
    if memory.sites.main_site(kind.code) is None or len(members) * 2 <= min(kind.pending, MAX_SEEN):
        return False
    looked = members[:LOOKED]
    return sum(is_let_go(sight.ref) for sight in looked) * 2 > len(looked)


def _stay(members: list[Sight], outside: set[int]) -> bool:
    """Tell whether the tasks, above all the oldest ones, look as if they would not end soon.

    Args:
        members: They.
        outside: Identities of the tasks, of any kind, that wait for a peer.
    """
    if sum(sight.is_joined for sight in members) * 2 > len(members):
        return False
    looked = [sight for sight in members if not sight.is_joined][:LOOKED]
    return sum(_stays(sight, outside) for sight in looked) * 2 > len(looked)


def _stays(sight: Sight, outside: set[int]) -> bool:
    if sight.key in outside or not outside.isdisjoint(sight.awaits_any):
        return False
    if sight.is_endless or sight.pause is None:
        return True
    again_s = ROUNDS * sight.pause.delay_s if sight.is_in_loop else 0.0
    return sight.pause.left_s + again_s >= SOON_S


def _waits_outside(sight: Sight) -> bool:
    """Tell whether a task waits for a peer, or for what a library waits for: clients that come and stay are no leak."""
    file = sight.chain[-1].code.co_filename if sight.chain else ""
    if sight.pause is not None or not file or is_own(file) or belongs_to_us(file):
        return False
    return not is_standard(file) or is_io(file)


def _queue(kind: Kind, members: list[Sight], sights: list[Sight], outside: set[int]) -> bool:
    """Tell whether the tasks queue for slots or a lock, and the queue moves: some have ended of late, or will end."""
    wanted = Counter(sight.wants[0] for sight in members if sight.wants is not None)
    if not wanted or wanted.total() * 2 <= len(members):
        return False
    [(slots, _)] = wanted.most_common(1)
    last = kind.samples[-1]
    late = last[0] - (last[0] - kind.samples[0][0]) * LATE
    before = next(sample for sample in kind.samples if sample[0] >= late)
    if last[3] > before[3]:
        return True
    holders = [sight for sight in sights if slots in sight.holds]
    return any(not _stays(sight, outside) for sight in holders)


def _have_owners(members: list[Sight], sights: list[Sight]) -> bool:
    """Tell whether most of the tasks are owned by tasks of other kinds, each by one of its own."""
    keys = {sight.key for sight in members}
    return len(keys & owned(sight.ref for sight in sights if sight.key not in keys)) * 2 > len(keys)


def _finding(memory: Memory, kind: Kind, members: list[Sight], rate: float, since_s: float) -> Finding:
    site = memory.sites.main_site(kind.code)
    at = members[0].at
    place = None if at is None else at.location
    what = "wait" if members[0].pause is None else f"sleep for {seconds(members[0].pause.delay_s)}"
    where = "" if place is None else f" at {near(place)}"
    made = "" if site is None else f" They are made at {near(site)}."
    return finding(
        "TASK_LEAK",
        "LIKELY",
        f"{kind.pending:,} tasks that run `{kind.function}` are there, {times(rate)} more every second for "
        f"{seconds(since_s)}, "
        f"and hardly any has ended: they {what}{where}.{made} Cancel or await each when it is no "
        "longer needed, or "
        "have fewer of them: a worker and a queue, a TaskGroup, a limit.",
        jobs=list(dict.fromkeys(sight.name for sight in members[:20])),
        location=site or place,
        since_s=since_s,
        evidence=[
            f"{when - kind.samples[0][0]:.1f} s: {pending} tasks"
            for when, pending, _, _ in list(kind.samples)[::4]
        ],
    )
