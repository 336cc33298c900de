"""The tree of a run as indented lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from spanloom.events.types import EventType
from spanloom.handlers._text import count_of, format_ns, one_line
from spanloom.viewer._layout import Line, label, table, times
from spanloom.viewer._tree import Kept, Place

__all__ = ["tree_lines"]

_INDENT: Final = "  "
_DEPTH: Final = 8
"""Levels shown."""
_WIDTH: Final = 8
"""Types and names shown in one place."""
_FEW: Final = 3
"""Up to so many jobs of a batch, none is listed by itself: their line says it all."""
_HEADS: Final = (
    "tree",
    "count",
    "total",
    "self",
    "p50",
    "p95",
    "max",
    "failed",
    "cancelled",
    "skipped",
    "open",
)
_SPARE: Final = tuple(map(_HEADS.index, ("p95", "cancelled", "p50", "open", "skipped")))
"""Columns that a narrow page does without, the first one first."""

_Row = tuple[tuple[str, ...], str]
"""The cells of a line, or one text that takes all of it; and its style."""


def tree_lines(roots: Sequence[Place], width: int, *, everything: bool) -> Iterator[Line]:
    """Yield the heads, and one line for each place, in order of the first start.

    Args:
        roots: The places at the top.
        width: Columns of the page.
        everything: Show all levels and all names.
    """
    rows = list(_below(roots, 0, everything=everything))
    lines = table(_HEADS, [cells for cells, _ in rows if len(cells) > 1], width, spare=_SPARE)
    yield Line(lines[0], "head")
    placed = iter(lines[1:])
    for cells, style in rows:
        yield Line(next(placed) if len(cells) > 1 else cells[0], style)


def _below(places: Sequence[Place], depth: int, *, everything: bool, batches: int = 0) -> Iterator[_Row]:
    shown = list(places)
    if not everything and len(shown) > _WIDTH:
        largest = sorted(shown, key=lambda place: -place.span_ns)[:_WIDTH]
        shown = [place for place in shown if place in largest]
    for place in shown:
        yield _row(place, depth)
        yield from _jobs(place, depth + 1, batches)
        if place.below:
            if everything or depth + 1 < _DEPTH:
                above = place.count if place.type == EventType.BATCH else 0
                yield from _below(list(place.below.values()), depth + 1, everything=everything, batches=above)
            else:
                yield _note(depth + 1, f"{count_of(_inside(place), 'event')} more inside")
    left = [place for place in places if place not in shown]
    if left:
        total_ns = sum(place.span_ns for place in left)
        events = count_of(sum(place.count for place in left), "event")
        yield _note(depth, f"{count_of(len(left), 'more name')}: {events}, {format_ns(total_ns)} in all")


def _row(place: Place, depth: int) -> _Row:
    counts = (place.failed, place.cancelled, place.skipped, place.open)
    quantiles = place.durations.quantiles(0.5, 0.95, 1.0) if place.count > 1 else (None, None, None)
    cells = (
        _INDENT * depth + label(place.type, place.name),
        f"{place.count:,}",
        times(place.span_ns),
        times(place.self_ns),
        *(times(value) for value in quantiles),
        *(f"{count:,}" if count else "" for count in counts),
    )
    return cells, "bad" if place.failed else ""


def _jobs(place: Place, depth: int, batches: int) -> Iterator[_Row]:
    """Yield the slowest and the failed ones of many jobs; no slowest where each has a batch to itself, as [0]."""
    if place.type != EventType.JOB or place.count <= _FEW:
        return
    slowest = place.slowest.kept() if place.count > batches else ()
    for what, listed in (("slowest", slowest), ("failed", place.failures)):
        for kept in listed:
            yield _note(depth, f"{what} {_job(kept)}")
    if place.failed > len(place.failures):
        yield _note(depth, f"and {place.failed - len(place.failures):,} more failed")


def _job(kept: Kept) -> str:
    record = kept.record
    parts = [f"[{record.job_index}] {format_ns(kept.span_ns)}"]
    if record.status not in {"ok", "error"}:  # an error says more than that it is one
        parts.append(record.status or "open")
    if (record.attempt or 1) > 1:
        parts.append(f"{record.attempt} attempts")
    if kept.backoff_ns:
        parts.append(f"back-off {format_ns(kept.backoff_ns)}")
    if record.error is not None:
        parts.append(one_line(record.error))
    return ", ".join(parts)


def _note(depth: int, text: str) -> _Row:
    return (_INDENT * depth + text,), "dim"


def _inside(place: Place) -> int:
    """Return how many events there are inside of one place, at any depth."""
    return sum(below.count + _inside(below) for below in place.below.values())
