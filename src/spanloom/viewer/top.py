"""What a run is at: its open jobs and what each of them does, how fast its batches go, and when they will be done.

Pure functions of what is open, so that a look takes as long as there is open work, however long the run has gone on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from spanloom.events import keys
from spanloom.events.types import EventType
from spanloom.handlers._text import format_ns, printable
from spanloom.store.model import Record, Run, RunState, Summary
from spanloom.viewer._ids import short_id
from spanloom.viewer._layout import WIDTH, Line, fit, label, table

__all__ = ["ENDED_BATCHES", "WINDOW_NS", "BatchNow", "InFlight", "Now", "look", "top_lines"]

WINDOW_NS: Final = 10_000_000_000
"""Over how much of the past a rate is taken: long enough to be steady, short enough to show that it stalls."""
ENDED_BATCHES: Final = 10
"""Batches that are shown of a run in which none is open: the last ones."""

_OTHERS: Final = frozenset({EventType.BATCH.value, EventType.TRACE.value})


class InFlight(NamedTuple):
    """An open job, or another open event that encloses nothing that is open.

    Attributes:
        event_id, type, name, job_index: As recorded.
        age_ns: For how long it has been open or, in a run that is dead, had been.
        state: ``running``, ``waiting`` for a slot, or ``backing off``.
        detail: The limiter whose slot it waits for; else empty.
        left_ns: Of a back-off, how much longer it will last; may be slightly below 0.
        attempt: Number of its current attempt; ``None`` if it is not retried.
    """

    event_id: int
    type: str
    name: str
    job_index: int | None
    age_ns: int
    state: str
    detail: str
    left_ns: int | None
    attempt: int | None


class BatchNow(NamedTuple):
    """How far a batch is.

    Attributes:
        name: As recorded.
        is_open: Whether it goes on.
        total: Jobs that it will have; ``None`` where nobody can know.
        ended, in_flight, failed, cancelled, backing_off, retried, skipped: Jobs, as `BatchCounts` has them.
        per_second: Jobs that ran and ended per second, over the last 10 s or since its start; of a batch that is over,
            over all of its time.
        left_ns: When it will be done: jobs that have not ended, divided by `per_second`. ``None`` if the total is not
            known, no job has ended lately, or it never will be done.
    """

    name: str
    is_open: bool
    total: int | None
    ended: int
    in_flight: int
    failed: int
    cancelled: int
    backing_off: int
    retried: int
    skipped: int
    per_second: float
    left_ns: int | None


class Now(NamedTuple):
    """A run at one moment: now if it is running, else when it was last heard of.

    Attributes:
        run: The run.
        now_ns: The moment, on the run's clock.
        summary: Its counts.
        per_second: Jobs of all batches that ran and ended per second, over the last 10 s.
        batches: The open ones or, if none is, the last ones; in order of their start.
        in_flight: What is open, the oldest first.
    """

    run: Run
    now_ns: int
    summary: Summary
    per_second: float
    batches: tuple[BatchNow, ...]
    in_flight: tuple[InFlight, ...]


def look(
    run: Run,
    now_ns: int,
    summary: Summary,
    batches: Iterable[Record],
    still_open: Iterable[Record],
    recent: Mapping[int | None, int],
) -> Now:
    """Put together what a run is at.

    Args:
        run: The run.
        now_ns: Nanoseconds since its start; that is when, if it is not running, it was last heard of.
        summary: Its counts.
        batches: The records of the batches that are to be shown.
        still_open: All open events.
        recent: How many jobs of each batch, by its id, ran and ended in the last `WINDOW_NS`.
    """
    is_running = run.state == RunState.RUNNING
    shown = tuple(_batch(record, now_ns, recent, is_running=is_running) for record in batches)
    window_ns = min(now_ns, WINDOW_NS)
    return Now(
        run,
        now_ns,
        summary,
        sum(recent.values()) * 1e9 / window_ns if window_ns > 0 else 0.0,
        shown,
        tuple(_in_flight(list(still_open), now_ns)),
    )


def _batch(record: Record, now_ns: int, recent: Mapping[int | None, int], *, is_running: bool) -> BatchNow:
    counts = record.counts
    total, started, in_flight = (counts.total, counts.started, counts.in_flight) if counts else (None, 0, 0)
    skipped = counts.skipped if counts else 0
    ended = started - in_flight
    if record.end_ns is None:
        age_ns, lately = min(now_ns - record.start_ns, WINDOW_NS), recent.get(record.event_id, 0)
    else:
        age_ns, lately = record.end_ns - record.start_ns, ended - skipped
    per_second = lately * 1e9 / age_ns if age_ns > 0 else 0.0
    left_ns = None
    if is_running and record.end_ns is None and total is not None and per_second > 0:
        left_ns = round(max(0, total - ended) / per_second * 1e9)
    return BatchNow(
        record.name,
        record.end_ns is None,
        total,
        ended,
        in_flight,
        counts.failed if counts else 0,
        counts.cancelled if counts else 0,
        counts.backing_off if counts else 0,
        counts.retried if counts else 0,
        skipped,
        per_second,
        left_ns,
    )


def _in_flight(records: list[Record], now_ns: int) -> Iterator[InFlight]:
    jobs = _jobs_around(records)
    encloses = {record.parent_id for record in records}
    inside: dict[int, Record] = {}
    """What each job is at: the open event in it that started last."""
    attempts: dict[int, int] = {}
    for record in records:
        job = jobs[record.event_id]
        if job is not None and job is not record:
            known = inside.get(job.event_id)
            if known is None or known.start_ns <= record.start_ns:
                inside[job.event_id] = record
            if record.attempt is not None:
                attempts[job.event_id] = max(record.attempt, attempts.get(job.event_id, 0))
    for record in sorted(records, key=lambda record: record.start_ns):
        is_job = record.type == EventType.JOB
        if is_job or (
            record.type not in _OTHERS and record.event_id not in encloses and jobs[record.event_id] is None
        ):
            attempt = attempts.get(record.event_id, record.attempt)
            yield _state(record, inside.get(record.event_id, record), attempt, now_ns)


def _jobs_around(records: list[Record]) -> dict[int, Record | None]:
    """Return, by event id, the open job that each record is or happens in, if any; each record is visited once."""
    by_id = {record.event_id: record for record in records}
    found: dict[int, Record | None] = {}
    for record in records:
        path: list[int] = []
        job: Record | None = None
        at: Record | None = record
        while at is not None:
            if at.event_id in found:
                job = found[at.event_id]
                break
            found[at.event_id] = None  # until it is known: a hostile file may have parents in a circle
            path.append(at.event_id)
            if at.type == EventType.JOB:
                job = at
                break
            # Jobs inside a job are jobs of their own.
            at = None if at.type == EventType.BATCH else by_id.get(at.parent_id or 0)
        found.update(dict.fromkeys(path, job))
    return found


def _state(record: Record, at: Record, attempt: int | None, now_ns: int) -> InFlight:
    payload = at.payload or {}
    state, detail, left_ns = "running", "", None
    if at.type == EventType.SLOT_WAIT:
        state, detail = "waiting", str(payload.get(keys.LIMITER) or at.name)
    elif at.type == EventType.BACKOFF:
        state = "backing off"
        delay_s = payload.get(keys.DELAY_S)
        if isinstance(delay_s, int | float):
            left_ns = round(at.start_ns + delay_s * 1e9) - now_ns
    return InFlight(
        record.event_id,
        record.type,
        record.name,
        record.job_index,
        max(0, now_ns - record.start_ns),
        state,
        detail,
        left_ns,
        attempt,
    )


# -- as text -----------------------------------------------------------------------------------------------------------


def top_lines(now: Now, *, width: int = WIDTH, height: int | None = None) -> Iterator[Line]:
    """Yield the lines of the view; of what is in flight, as many as fit into `height` lines, ``None`` for all."""
    yield from fit(_view(now, width, height), width)


def _view(now: Now, width: int, height: int | None) -> Iterator[Line]:
    run, summary = now.run, now.summary
    state = {
        RunState.RUNNING: f"running for {format_ns(now.now_ns)}",
        RunState.ENDED: f"ended after {format_ns(now.now_ns)}"
        + ("" if run.exit_code is None else f" with exit code {run.exit_code}"),
    }.get(RunState(run.state), f"INTERRUPTED after {format_ns(now.now_ns)}: its process died")
    is_dead = run.state == RunState.INTERRUPTED
    yield Line(
        f"Run {short_id(run.run_id)}  {printable(run.name)}  pid {run.pid}  {state}",
        "bad" if is_dead else "head",
    )
    in_flight = [flight for flight in now.in_flight if flight.type == EventType.JOB]
    done = max(0, summary.jobs - len(in_flight))  # they are two looks, a moment apart
    text = f"jobs: {done:,} done, {summary.failed:,} failed, {len(in_flight):,} in flight"
    if run.state == RunState.RUNNING:
        text += f"; {_rate(now.per_second)} jobs/s"
    yield Line(text)
    if run.dropped:
        yield Line(f"{run.dropped:,} events were lost", "bad")
    if run.thinned:
        yield Line(
            f"{run.thinned:,} events that went well were removed to keep the file within its limit", "dim"
        )
    used = 2 + bool(run.dropped) + bool(run.thinned)
    if now.batches:
        rows = list(_batch_rows(now.batches))
        lines = table(
            ("batch", "done", "of", "%", "skipped", "failed", "in flight", "back-off", "jobs/s", "left"),
            rows,
            width,
            spare=(7, 4, 6, 3),
        )
        yield Line("")
        yield Line(lines[0], "dim")
        yield from map(Line, lines[1:])
        used += 2 + len(rows)
    if now.in_flight:
        room = len(now.in_flight) if height is None else max(1, height - used - 3)
        rows = [_flight_row(flight, is_dead=is_dead) for flight in now.in_flight[:room]]
        lines = table(("in flight", "age", "state", "attempt"), rows, width, words=(0, 2))
        yield Line("")
        yield Line(lines[0], "dim")
        yield from map(Line, lines[1:])
        if len(now.in_flight) > room:
            yield Line(f"and {len(now.in_flight) - room:,} more, which are younger", "dim")


def _batch_rows(batches: Iterable[BatchNow]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each batch; those of one job, as a pool has one for each call, share a row by name and state."""
    groups: dict[object, list[BatchNow]] = {}
    for at, batch in enumerate(batches):
        groups.setdefault((batch.name, batch.is_open) if batch.total == 1 else at, []).append(batch)
    for group in groups.values():
        row = _batch_row(group[0])
        if len(group) > 1:
            together = group[0]._replace(
                total=len(group),
                ended=sum(batch.ended for batch in group),
                in_flight=sum(batch.in_flight for batch in group),
                failed=sum(batch.failed for batch in group),
                backing_off=sum(batch.backing_off for batch in group),
                skipped=sum(batch.skipped for batch in group),
            )
            # Rates of single jobs, one after another or side by side, have no sum that would say anything.
            row = _batch_row(together)
            row = f"{len(group):,} × {row[0]}", *row[1:-2], "", ""
        yield row


def _batch_row(batch: BatchNow) -> tuple[str, ...]:
    return (
        printable(batch.name),
        f"{batch.ended:,}",
        "?" if batch.total is None else f"{batch.total:,}",
        f"{batch.ended / batch.total:.0%}" if batch.total else "",
        f"{batch.skipped:,}" if batch.skipped else "",
        f"{batch.failed:,}" if batch.failed else "",
        f"{batch.in_flight:,}" if batch.in_flight else "",
        f"{batch.backing_off:,}" if batch.backing_off else "",
        _rate(batch.per_second),
        "" if batch.left_ns is None else format_ns(batch.left_ns),
    )


def _flight_row(flight: InFlight, *, is_dead: bool) -> tuple[str, ...]:
    name = label(flight.type, flight.name)
    if flight.job_index is not None and flight.type == EventType.JOB:
        name = f"{printable(flight.name)}[{flight.job_index}]"
    state = flight.state
    if flight.detail:
        state = f"waiting for {printable(flight.detail)}"
    elif flight.left_ns is not None and flight.left_ns > 0:
        state = f"backing off, {format_ns(flight.left_ns)} more"
    if is_dead:
        state = f"interrupted: {state}"
    return name, format_ns(flight.age_ns), state, "" if flight.attempt is None else f"#{flight.attempt}"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}"
