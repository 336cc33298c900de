"""The tables of a page: why the run was slow or stuck, times by name, errors, the slowest jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from spanloom.events.types import EventType
from spanloom.handlers._text import format_ns, printable
from spanloom.store.model import RunState
from spanloom.viewer._errors import ErrorGroup
from spanloom.viewer._frames import raised_at
from spanloom.viewer._names import NameStats
from spanloom.viewer._tree import Kept
from spanloom.viewer.analysis import Analysis

__all__ = ["Section", "sections"]

MAX_ROWS = 200
"""Rows of a table: more are not read, and a page has room for so many elements."""


class Heading(TypedDict):
    """The head of a column."""

    title: str
    isText: bool
    """Whether the column is text, not numbers."""


class Jump(TypedDict):
    """A cell that leads to a bar of the picture; without a bar, plain text."""

    text: str
    bar: int | None


class Section(TypedDict):
    """A heading, a sentence on how to read the table, and the table."""

    id: str
    title: str
    note: str
    columns: list[Heading]
    rows: list[list[str | Jump]]


def sections(
    analysis: Analysis, bars: Mapping[int, int], findings: Sequence[Mapping[str, Any]] = ()
) -> list[Section]:
    """Return the tables of a run.

    Args:
        analysis: What there is to say about it.
        bars: By the event id of a slowest job, which bar of the picture it is.
        findings: Why it was slow or stuck, as JSON has it, the cause first.
    """
    names = sorted(analysis.names, key=lambda stats: (stats.type != EventType.JOB, -stats.span_ns))
    return [
        *_why(findings),
        _names(names, "interrupted" if analysis.run.state == RunState.INTERRUPTED else "open"),
        _errors(analysis.errors),
        _slowest(analysis.slowest, bars),
    ]


def _why(findings: Sequence[Mapping[str, Any]]) -> Iterable[Section]:
    if findings:
        yield Section(
            id="why",
            title="Why it was slow or stuck",
            note="Causes come before their symptoms. What a finding rests on is shown by spanloom why --evidence."
            + _left_out(len(findings)),
            columns=[_text("finding"), _text("certainty"), _text("what it is"), _text("at")],
            rows=[
                [
                    printable(str(one.get(key) or ""), 2_000)
                    for key in ("code", "level", "message", "location")
                ]
                for one in findings[:MAX_ROWS]
            ],
        )


def _names(names: list[NameStats], unended: str) -> Section:
    numbers = ("p50", "p95", "p99", "max", "queue", "run", "busy", "back-off", "self")
    return Section(
        id="names",
        title="Times by name",
        note="Half of them took at most p50 from start to end, 99 of 100 at most p99. The columns after max are sums: "
        "queue, waiting to start; run, from start to end; busy, holding the event loop; back-off, pausing between "
        "attempts; self, while nothing inside was open. What has no end counts up to when the run was last heard of."
        + _left_out(len(names)),
        columns=[_text("name"), _text("type"), *map(_number, ("count", "not ok", "attempts", *numbers))],
        rows=[_name(stats, unended) for stats in names[:MAX_ROWS]],
    )


def _name(stats: NameStats, unended: str) -> list[str | Jump]:
    ended = stats.durations.count
    return [
        printable(stats.name),
        printable(stats.type),
        f"{stats.count:,}",
        _not_ok(stats, unended),
        f"{stats.attempts:,}" if stats.attempts else "",
        *(_time(value) for value in stats.durations.quantiles(0.5, 0.95, 0.99)),
        _time(stats.durations.maximum if ended else None),
        _time(stats.queue_ns if stats.type in {EventType.JOB, EventType.SLOT_WAIT} else None),
        _time(stats.span_ns if stats.ran else None),
        _time(stats.busy_ns),
        _time(stats.backoff_ns or None),
        _time(stats.self_ns),
    ]


def _not_ok(stats: NameStats, unended: str) -> str:
    parts = {
        "failed": stats.errors,
        "timed out": stats.timeouts,
        "cancelled": stats.cancelled,
        "skipped": stats.skipped,
        unended: stats.open,
    }
    return ", ".join(f"{number:,} {word}" for word, number in parts.items() if number)


def _errors(groups: list[ErrorGroup]) -> Section:
    return Section(
        id="errors",
        title="Errors",
        note="By type and shape of the message. An error that passes through an attempt, a job and a batch counts once."
        + _left_out(len(groups))
        if groups
        else "Nothing raised an error.",
        columns=[
            _text("error"),
            _text("message"),
            _number("raised"),
            _number("jobs ended"),
            _text("in"),
            _text("at"),
            _number("first"),
            _number("last"),
        ],
        rows=[_error(group) for group in groups[:MAX_ROWS]],
    )


def _error(group: ErrorGroup) -> list[str | Jump]:
    same = group.shape == group.example
    return [
        printable(group.type),
        printable(group.shape, 500) + ("" if same else f"  (one of them: {printable(group.example, 500)})"),
        f"{group.count:,}",
        f"{group.jobs:,}",
        printable(", ".join(f"{name}: {count:,}" for (_, name), count in group.names.items())),
        printable(raised_at(group.frame, group.own_frame), 500),
        format_ns(group.first_ns),
        format_ns(group.last_ns),
    ]


def _slowest(slowest: list[Kept], bars: Mapping[int, int]) -> Section:
    return Section(
        id="slowest",
        title="Slowest jobs",
        note="Choose one to see it in the picture." if slowest else "The run has no jobs.",
        columns=[
            _text("job"),
            _number("took"),
            _number("queued"),
            _number("back-off"),
            _number("self"),
            _text("ended"),
            _text("longest inside"),
        ],
        rows=[_slow(kept, bars.get(kept.record.event_id)) for kept in slowest],
    )


def _slow(kept: Kept, bar: int | None) -> list[str | Jump]:
    record, below = kept.record, kept.below
    index = "" if record.job_index is None else f" #{record.job_index}"
    return [
        Jump(text=printable(record.name) + index, bar=bar),
        format_ns(kept.span_ns),
        _time(record.queue_ns),
        _time(kept.backoff_ns or None),
        format_ns(kept.self_ns),
        printable(record.status or "open"),
        ""
        if below is None
        else printable(f"{below.type} {below.name}" if below.type != below.name else below.name),
    ]


def _time(ns: int | None) -> str:
    return "" if ns is None else format_ns(ns)


def _left_out(rows: int) -> str:
    return "" if rows <= MAX_ROWS else f" {rows - MAX_ROWS:,} more are left out."


def _text(title: str) -> Heading:
    return Heading(title=title, isText=True)


def _number(title: str) -> Heading:
    return Heading(title=title, isText=False)
