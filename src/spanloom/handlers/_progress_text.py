"""The text of progress: the numbers behind a bar, and a line where there is no bar."""

from __future__ import annotations

from spanloom.events import BatchCounts, Event, keys
from spanloom.handlers._text import format_ns, printable

__all__ = ["is_call", "line_of", "more_of", "name_of", "numbers_of", "total_of"]

MAX_NAME = 40
"""Characters of a batch's name: half a terminal of the usual width."""


def name_of(event: Event) -> str:
    """Return the name of a batch, shortened, and safe to print on a terminal."""
    return printable(event.name, MAX_NAME)


def is_call(event: Event) -> bool:
    """Return whether a batch is a single call given to a pool: a program may make thousands of these."""
    counts = event.counts
    return (
        counts is not None
        and total_of(event, counts) in {1, None}
        and counts.started <= 1
        and str(event.payload.get(keys.RUNNER, "")).endswith("PoolExecutor")
    )


def numbers_of(counts: BatchCounts) -> str:
    """Return how the jobs of a batch are doing: ``ok=1990 failed=10 retrying=2 waiting=300``.

    ``ok`` and ``failed`` always; ``skipped``, ``cancelled``, ``retrying`` and ``waiting`` when there are any.
    """
    parts = [f"ok={counts.ok}", f"failed={counts.failed}"]
    if counts.skipped:
        parts.append(f"skipped={counts.skipped}")
    if counts.cancelled:
        parts.append(f"cancelled={counts.cancelled}")
    if counts.backing_off:
        parts.append(f"retrying={counts.backing_off}")
    if counts.waiting:
        parts.append(f"waiting={counts.waiting}")
    return " ".join(parts)


def total_of(event: Event, counts: BatchCounts) -> int | None:
    """Return how many jobs a batch has; ``None`` if unknown, as for a generator before its end."""
    return counts.total if counts.total is not None or event.end_ns is None else counts.started


def line_of(event: Event) -> str:
    """Return one line on a batch: ``fetch: 2000/2000 ok=1990 failed=10 in 12.3 s``, or ``after`` while it runs."""
    counts = event.counts
    if counts is None:
        return name_of(event)
    total = total_of(event, counts)
    done = f"{counts.ended}" if total is None else f"{counts.ended}/{total}"
    when = "after" if event.end_ns is None else "in"
    return f"{name_of(event)}: {done} {numbers_of(counts)} {when} {format_ns(event.age_ns)}"


def more_of(events: list[Event]) -> str:
    """Return one line on batches that have no line of their own: ``and 12 more batches: 340/900 ok=338 failed=2``."""
    every = [event.counts for event in events if event.counts is not None]
    ended = sum(counts.ended for counts in every)
    totals = [counts.total for counts in every]
    known = [total for total in totals if total is not None]
    done = f"{ended}/{sum(known)}" if len(known) == len(totals) else f"{ended}"
    ok, failed = sum(counts.ok for counts in every), sum(counts.failed for counts in every)
    plural = "es" if len(every) != 1 else ""
    return f"and {len(every)} more batch{plural}: {done} ok={ok} failed={failed}"
