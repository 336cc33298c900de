"""Findings on a run that is over: where its time went, and how long it would have taken without.

Each finding has a share: the seconds of the batch's duration that it cost. Nothing is said that the numbers do not
carry: that a higher limit would have helped, for instance, only if jobs ran as quickly when many ran at once as when
few did. Shares of several findings may overlap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, takewhile
from pathlib import PurePath
from statistics import median
from typing import TYPE_CHECKING, Final

from spanloom.diagnosis.finding import Finding, Level
from spanloom.diagnosis.history.rules.words import listed, seconds
from spanloom.diagnosis.slow.inside import longest_inside
from spanloom.diagnosis.slow.numbers import BatchNumbers, RunNumbers, read
from spanloom.viewer._sweep import end_of

if TYPE_CHECKING:
    from spanloom.store.model import Record, Run
    from spanloom.store.reader import StoreReader

__all__ = ["explain"]

LEAST_SHARE: Final = 0.1
"""Fraction of the duration below which a share is not reported."""
LEAST_NS: Final = 100_000_000
LEAST_JOBS: Final = 8
MANY: Final = 20
"""Jobs at one concurrency from which on their mean run time is trusted."""
STRAGGLER: Final = 5.0
"""A job is late if it ran so many times longer than the median."""
SAME: Final = 1.15
"""Run times whose ratio is below this are equal."""
FULL: Final = 0.85
"""Fraction of the slots that must have been in use, on average, for the limit to be what a batch waited for."""
ONE_SLOW: Final = 3.0
"""A kind of call is slow if its median is so many times that of the others."""


def explain(store: StoreReader, run: Run) -> list[Finding]:
    """Return why a recorded run took so long, the largest share first; empty if nothing stands out.

    Args:
        store: The record.
        run: One of its runs. If it still runs, only what has ended counts.

    Returns:
        Findings with the codes ``STRAGGLER``, ``RETRIES``, ``LIMIT_TOO_LOW``, ``LIMIT_TOO_HIGH``, ``LOOP_LAG`` and
        ``SLOW_CALL``. `Finding.since_s` is the share in seconds.

    Raises:
        StoreError: the record cannot be read.
    """
    numbers = read(store.records(run))
    found: list[Finding] = []
    for batch in numbers.batches.values():
        if len(batch.starts) >= LEAST_JOBS and batch.duration_ns > 0:
            found += _stragglers(batch, lambda: store.records(run))
            found += _retries(batch)
            found += _limits(batch, numbers, end_of(run))
    found += _lag(numbers, end_of(run))
    found += _calls(numbers)
    return sorted(found, key=lambda finding: -(finding.since_s or 0.0))


def _finding(
    code: str, level: Level, share_ns: float, message: str, evidence: tuple[str, ...] = ()
) -> Finding:
    return Finding(code, message, "info", level, since_s=round(share_ns / 1e9, 3), evidence=evidence)


def _is_worth(share_ns: float, of_ns: float) -> bool:
    return share_ns >= LEAST_NS and share_ns >= LEAST_SHARE * of_ns


def _s(ns: float) -> str:
    return seconds(ns / 1e9)


# stragglers and retries
# -----------------------------------------------------------------------------------------------


def _stragglers(batch: BatchNumbers, records: Callable[[], Iterable[Record]]) -> Iterator[Finding]:
    runs = batch.runs_ns()
    usual = median(runs)
    late = {number for number, run in enumerate(runs) if run > STRAGGLER * usual}
    most = max(1, len(runs) // 10)
    if len(late) > most:
        late = _last_of(late, batch.ends, most)
    if not late:
        return
    others_end = max(end for number, end in enumerate(batch.ends) if number not in late)
    share = max(batch.ends) - others_end
    if not _is_worth(share, batch.duration_ns):
        return
    worst = sorted(late, key=lambda number: -batch.ends[number])
    names = [f"{batch.name}[{batch.indexes[number]}]" for number in worst]
    longest = max(late, key=runs.__getitem__)
    at = longest_inside(records(), batch.ids[longest], runs[longest])
    inside = "" if at is None else f", {_s(at[1])} of them in {at[0]}"
    yield _finding(
        "STRAGGLER",
        "PROVEN",
        share,
        f"Batch `{batch.name}` lasted {_s(batch.duration_ns)}, the last {_s(share)} of it for "
        f"{listed(names)} alone: a job "
        f"usually took {_s(usual)}, {'this one' if len(late) == 1 else 'the longest of these'} "
        f"{_s(runs[longest])}{inside}. Without {'it' if len(late) == 1 else 'them'}, the batch "
        f"would have ended after {_s(batch.duration_ns - share)}; a timeout for each job would bound it.",
        tuple(f"{name}: ran {_s(runs[number])}" for name, number in zip(names[:10], worst, strict=False)),
    )


def _last_of(late: set[int], ends: Sequence[float], most: int) -> set[int]:
    """Return, of many late jobs, the last ones up to the largest gap between two ends; at most `most`.

    A pause of the whole program makes all jobs late that run during it; a straggler among them still ends alone. Empty
    if the job that ended last was not late.
    """
    last = sorted(range(len(ends)), key=lambda number: -ends[number])[: most + 1]
    alone = list(takewhile(late.__contains__, last[:-1]))
    gaps = [ends[number] - ends[following] for number, following in zip(alone, last[1:], strict=False)]
    return set(alone[: gaps.index(max(gaps)) + 1]) if gaps else set()


def _retries(batch: BatchNumbers) -> Iterator[Finding]:
    lost = batch.failed_ns + batch.backoff_ns
    spent = sum(batch.runs_ns())
    if not batch.retries or not spent:
        return
    # Lost job time counts by the mean number of jobs at once: while others run, it costs the batch only its part.
    mean = spent / batch.duration_ns
    share = lost / max(1.0, mean)
    if not _is_worth(share, batch.duration_ns):
        return
    yield _finding(
        "RETRIES",
        "LIKELY",
        share,
        f"Jobs of batch `{batch.name}` were tried again {batch.retries:,} times: {_s(batch.failed_ns)} "
        "went into attempts "
        f"that failed and {_s(batch.backoff_ns)} into pauses before the next, {100 * lost / spent:.0f} % "
        "of the time in all "
        f"jobs. With {mean:.1f} jobs at once on average that is {_s(share)} of the {_s(batch.duration_ns)} "
        "it lasted.",
    )


# limits
# ---------------------------------------------------------------------------------------------------------------


def _limits(batch: BatchNumbers, numbers: RunNumbers, run_ns: int) -> Iterator[Finding]:
    curve = _curve(batch)
    too_high = _too_high(batch, curve)
    if too_high is not None:
        yield too_high
        return
    limit = batch.limit
    if limit is None or not batch.is_fixed:
        return
    spent = sum(batch.runs_ns())
    queued = sum(batch.queues)
    mean = spent / batch.duration_ns  # Little's law: jobs at once = jobs a second x seconds a job
    if mean < FULL * limit or queued < spent:
        return
    held = sum(numbers.lag_ns.values()) + numbers.busy_ns
    low = [(jobs, run) for count, (jobs, run) in curve.items() if count <= limit / 2 and jobs >= LEAST_JOBS]
    full = [run for count, (_, run) in curve.items() if count > limit * 0.75]
    if not low or not full or full[-1] > SAME * min(run for _, run in low) or held > 0.5 * run_ns:
        return  # it is unknown how long jobs would have run with a higher limit
    share = batch.duration_ns / 2
    if not _is_worth(share, batch.duration_ns):
        return
    yield _finding(
        "LIMIT_TOO_LOW",
        "LIKELY",
        share,
        f"The limit of {limit} held batch `{batch.name}` back: {mean:.1f} of {limit} slots were in use on "
        "average, and a job "
        f"waited {_s(queued / len(batch.queues))} for one to run {_s(spent / len(batch.starts))}. Jobs ran "
        "as quickly with all "
        f"slots in use as with half of them, so by Little's law {2 * limit} slots would have taken about "
        f"{_s(share)} less than the {_s(batch.duration_ns)}, if who serves them does not mind.",
        tuple(f"about {count} at once: {jobs} jobs, {_s(run)} each" for count, (jobs, run) in curve.items()),
    )


def _too_high(batch: BatchNumbers, curve: dict[int, tuple[int, float]]) -> Finding | None:
    """Return the finding that more jobs at once brought at most 10 % more throughput (jobs at once / run time each)."""
    points = [(count, jobs, run) for count, (jobs, run) in curve.items() if jobs >= MANY]
    if len(points) < 2:
        return None
    count, _, run = points[-1]
    for fewer, _, quicker in points[:-1]:
        if count >= 1.5 * fewer and count / run <= 1.1 * fewer / quicker:
            share = sum(batch.runs_ns()) * (1 - quicker / run) / count
            gained = count / run / (fewer / quicker) - 1
            if not _is_worth(share, batch.duration_ns):
                return None
            return _finding(
                "LIMIT_TOO_HIGH",
                "LIKELY",
                share,
                f"Batch `{batch.name}` got no more done with about {count} jobs at once than with {fewer}: "
                "each took "
                f"{_s(run)} instead of {_s(quicker)}, so {100 * gained:+.0f} % were done a second. A limit "
                f"of {fewer} would "
                f"have had the same throughput, and each job its result about {_s(run - quicker)} after "
                "its start "
                "sooner.",
                tuple(f"about {at} at once: {jobs} jobs, {_s(took)} each" for at, jobs, took in points),
            )
    return None


def _curve(batch: BatchNumbers) -> dict[int, tuple[int, float]]:
    """Return ``(number of jobs, mean run time in ns)`` by concurrency, ascending.

    The concurrency of a job is the mean number of running jobs over its own run: the integral of that step function
        from
    its start to its end, divided by its run time. It is rounded to a power of the square root of 2.
    """
    steps = sorted([(start, 1) for start in batch.starts] + [(end, -1) for end in batch.ends])
    times = [at for at, _ in steps]
    running = list(accumulate(by for _, by in steps))
    areas = [
        0,
        *accumulate(
            count * (after - before) for count, before, after in zip(running, times, times[1:], strict=False)
        ),
    ]

    def area(at: int) -> int:
        number = bisect_right(times, at) - 1
        return areas[number] + running[number] * (at - times[number])

    groups: dict[int, list[int]] = {}
    for start, end in zip(batch.starts, batch.ends, strict=True):
        if end > start:
            mean = (area(end) - area(start)) / (end - start)
            groups.setdefault(_bucket(mean), []).append(end - start)
    return {count: (len(runs), sum(runs) / len(runs)) for count, runs in sorted(groups.items())}


def _bucket(mean: float) -> int:
    bucket = 1.0
    while bucket * 2**0.25 < mean:
        bucket *= 2**0.5
    return round(bucket)


# the loop, and what is called
# ----------------------------------------------------------------------------------------


def _lag(numbers: RunNumbers, run_ns: int) -> Iterator[Finding]:
    held = sum(numbers.lag_ns.values())
    if not _is_worth(held, run_ns):
        return
    places = sorted(numbers.lag_ns, key=lambda place: -numbers.lag_ns[place])
    first = places[0]
    place = None if first == "?" else first
    most = "" if len(places) == 1 else f"{_s(numbers.lag_ns[first])} of them "
    where = "" if place is None else f", {most}at {PurePath(place).name}"
    finding = _finding(
        "LOOP_LAG",
        "PROVEN",
        held,
        f"Blocking code held the event loop for at least {_s(held)} of the {_s(run_ns)} that the run "
        f"lasted{where}: nothing else could run meanwhile. Move it into `await asyncio.to_thread(...)`, or "
        "into a process if it computes.",
        tuple(f"{_s(numbers.lag_ns[each])} at {each}" for each in places[:10]),
    )
    yield Finding(
        finding.code,
        finding.message,
        "warning",
        finding.level,
        location=place,
        since_s=finding.since_s,
        evidence=finding.evidence,
    )


def _calls(numbers: RunNumbers) -> Iterator[Finding]:
    spent = sum(sum(batch.runs_ns()) for batch in numbers.batches.values())
    lasted = sum(batch.duration_ns for batch in numbers.batches.values())
    if not spent:
        return
    for kind, by_name in numbers.calls.items():
        medians = {
            name: median(calls.durations)
            for name, calls in by_name.items()
            if len(calls.durations) >= LEAST_JOBS
        }
        if len(medians) < 2:
            continue
        slowest = max(medians, key=lambda name: medians[name])
        others = median(value for name, value in medians.items() if name != slowest)
        durations = by_name[slowest].durations
        extra = sum(durations) - others * len(durations)
        share = extra * lasted / spent
        if medians[slowest] < ONE_SLOW * others or not _is_worth(share, lasted):
            continue
        yield _finding(
            "SLOW_CALL",
            "LIKELY",
            share,
            f"One of {len(medians)} kinds of {kind} is slow: `{slowest}` took {_s(medians[slowest])}, "
            f"{len(durations):,} times, "
            f"where the others took {_s(others)}. As quick as these, it would have spared the jobs "
            f"{_s(extra)}, about "
            f"{_s(share)} of the {_s(lasted)} that their batches lasted.",
            tuple(
                f"{name}: {_s(value)}"
                for name, value in sorted(medians.items(), key=lambda pair: -pair[1])[:10]
            ),
        )
