"""STRAGGLER: nearly all jobs of a batch are done, and one or a few run many times longer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.history.batches import Batch, OpenJob
from spanloom.diagnosis.history.census import Kind, Member
from spanloom.diagnosis.history.rules.words import finding, listed, near, seconds
from spanloom.diagnosis.history.sight import Sight

if TYPE_CHECKING:
    from spanloom.diagnosis.history.memory import Memory

__all__ = ["stragglers"]

LEAST_JOBS: Final = 5
MAX_LEFT: Final = 0.2
"""Share of the jobs that may be left, at most; one always may."""
LEAST_AGE_S: Final = 2.0
LEAST_IN_SLOT_S: Final = 1.5
"""The same of one that has a slot, for how long it has had that at least: it counts from when most were done."""
FACTOR: Final = 5.0
"""How many times longer than usual a straggler runs."""


def stragglers(memory: Memory, sights: list[Sight]) -> Iterator[Finding]:
    """Yield a finding for each batch that waits for a few jobs, spanloom's own first."""
    found = list(_own_batches(memory, sights))
    yield from (finding for finding, is_own in found if is_own)
    tasks = list(_tasks(memory, sights))
    yield from tasks
    if not tasks:  # tasks themselves tell more than a batch of foreign tasks
        yield from (finding for finding, is_own in found if not is_own)


def _own_batches(memory: Memory, sights: list[Sight]) -> Iterator[tuple[Finding, bool]]:
    """Yield what is found of batches that have events, each with whether spanloom runs its jobs."""
    for event_id, batch in memory.batches.running.items():
        usual_s = None if memory.batches.is_mixed(event_id) else _usual(batch)
        jobs = [] if usual_s is None else memory.batches.open_jobs(event_id)
        late = [job for job in jobs if job.age_s >= max(LEAST_AGE_S, FACTOR * (usual_s or 0.0))]
        if usual_s is not None and late and len(late) == len(jobs):
            by_job = {sight.job: sight for sight in sights if sight.job is not None}
            seen = [by_job.get((event_id, job.index)) for job in late]
            yield _of_batch(batch, late, usual_s, seen), seen[0] is not None and seen[0].engine is not None


def _usual(batch: Batch) -> float | None:
    """Return for how long a job usually runs; ``None`` unless nearly all are done.

    By Little's law, from the samples up to the first one in which nearly all were: the time that was spent in all
    of them is the integral of their number.
    """
    total = batch.total
    if total is None or total < LEAST_JOBS or not batch.samples:
        return None
    _, ended, in_flight = batch.samples[-1]
    if ended + in_flight < total or in_flight > max(1, total * MAX_LEFT):
        return None
    spent, before = 0.0, batch.began - 0.25
    for when, done, running in batch.samples:
        spent += (when - before) * max(1, running)
        before = when
        if done >= total * (1 - MAX_LEFT):
            return spent / done
    return None


def _of_batch(batch: Batch, late: list[OpenJob], usual_s: float, seen: list[Sight | None]) -> Finding:
    at = None if seen[0] is None else seen[0].at
    place = None if at is None else at.location
    where = "" if at is None else f", and waits at {near(place)}"
    ended = batch.samples[-1][1]
    names = [
        f"{job.name}[{job.index}]" if sight is None or sight.name == sight.function else sight.name
        for job, sight in zip(late, seen, strict=True)
    ]
    tries = "" if late[0].attempt is None else f", in attempt {late[0].attempt}"
    return finding(
        "STRAGGLER",
        "LIKELY",
        f"{ended} of {batch.total} jobs of batch `{batch.name}` are done, usually after {seconds(usual_s)} "
        "or less; only "
        f"{listed(names)} ran {seconds(late[0].age_s)} so far{tries}{where}. Give each job a timeout, and "
        "see why these are slow.",
        jobs=names,
        location=place,
        since_s=late[0].age_s,
    )


def _tasks(memory: Memory, sights: list[Sight]) -> Iterator[Finding]:
    by_key = {sight.key: sight for sight in sights}
    told: set[int] = set()
    for done, total, left in _batches(memory, sights):
        late = [by_key[key] for key in left if key in by_key and key not in told]
        members = [memory.census.members.get(sight.ref) for sight in late]
        if len(late) != len(left) or total < LEAST_JOBS or len(late) > max(1, total * MAX_LEFT):
            continue
        if any(sight.is_endless for sight in late):
            continue  # a service, not a late job
        sinces = [member.since for member in members if member is not None]
        if len(sinces) != len(late):
            continue
        known = [member for member in members if member is not None]
        usual_s = _usual_life(known)
        age_s = memory.census.at - max(sinces)
        if age_s < max(LEAST_AGE_S, FACTOR * usual_s):
            # It may be that the others have lived for long because they queued.
            in_slot = _in_slots(late, known[0].kind, sights)
            if in_slot is None or in_slot[1] < max(LEAST_IN_SLOT_S, FACTOR * in_slot[0]):
                continue
            usual_s, age_s = in_slot
        told.update(left)
        yield _of_tasks(late, done, total, usual_s, age_s)


def _batches(memory: Memory, sights: list[Sight]) -> Iterator[tuple[int, int, list[int]]]:
    """Yield the tasks that are awaited together: how many have ended, how many there are, identities of those left."""
    gathered: dict[tuple[int, int], list[Sight]] = {}
    grouped: dict[tuple[str, int], list[Sight]] = {}
    for sight in sights:
        if sight.crowd is not None:
            yield sight.crowd[0], sight.crowd[1], list(sight.crowd[2])
        if sight.siblings is None:
            continue
        done, total = sight.siblings
        if total:
            gathered.setdefault((done, total), []).append(sight)
        else:
            grouped.setdefault((sight.function, done), []).append(sight)
    for (done, total), left in gathered.items():
        if done + len(left) == total:
            yield done, total, [sight.key for sight in left]
    for (_, number), left in grouped.items():
        member = memory.census.members.get(left[0].ref)
        if member is None or number != len(left) or not _was_one_batch(member.kind):
            continue
        made = max(member.kind.seen, memory.sites.count(member.kind.code))
        yield made - len(left), made, [sight.key for sight in left]


def _was_one_batch(kind: Kind) -> bool:
    """Tell whether no more tasks of a kind have come since the first of them were done.

    A TaskGroup may hold who makes them, too: whoever serves connections has some that last.
    """
    samples = list(kind.samples)
    first = next((sample for sample in samples if sample[3]), samples[-1])
    return kind.seen - first[2] <= max(1, kind.seen * MAX_LEFT) if samples[0][2] <= first[2] else False


def _usual_life(members: list[Member]) -> float:
    """Return for how long others of the kind lived, at most.

    Those that no look has met, not longer than from look to look.
    """
    kind = members[0].kind
    lives = sorted(kind.lives)
    return lives[int((len(lives) - 1) * 0.95)] if lives else kind.unseen_s


def _in_slots(late: list[Sight], kind: Kind, sights: list[Sight]) -> tuple[float, float] | None:
    """Return for how long a task usually had its slot of a semaphore, and for how long at least those left have theirs.

    By Little's law, from the time in which most of them had theirs: slots * time / number. ``None`` unless all were
    made at once, and all that are left have one.
    """
    slots = next((one for sight in late for one in sight.free), None)
    if slots is None or any(sight.wants is not None or slots[0] not in sight.holds for sight in late):
        return None
    size = slots[1] + sum(slots[0] in sight.holds for sight in sights)
    began, _, made, _ = next(sample for sample in kind.samples if sample[2])
    if len(kind.samples) == kind.samples.maxlen or kind.seen - made > kind.seen * MAX_LEFT:
        return None
    for when, _, _, ended in kind.samples:
        if ended >= kind.seen * (1 - MAX_LEFT):
            return size * (when - began) / ended, kind.samples[-1][0] - when
    return None


def _of_tasks(group: list[Sight], done: int, total: int, usual_s: float, age_s: float) -> Finding:
    names = [sight.name for sight in group]
    sight = group[0]
    at = sight.at
    place = None if at is None else at.location
    inner = sight.chain[-1] if sight.chain else None
    what = "sleeps" if sight.pause is not None else "waits"
    deep = "" if inner is None or inner is at else f", in `{inner.function}`"
    function = "" if sight.function in names else f" (`{sight.function}`)"
    return finding(
        "STRAGGLER",
        "LIKELY",
        f"{done} of {total} tasks of one kind{function} are done, after {seconds(max(usual_s, 0.001))} or "
        "less; only "
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} still there after {seconds(age_s)}, and "
        f"{what} at {near(place)}{deep}. "
        "Give each a timeout, and see why this one is slow.",
        jobs=names[:20],
        location=place,
        since_s=age_s,
        evidence=[f"at {step.location} in {step.function}" for step in sight.chain],
    )
