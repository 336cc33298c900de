"""A trace tree as indented text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spanloom.events.types import EventType
from spanloom.handlers._debug_group import Folded, Group, Node, fold
from spanloom.handlers._text import NUMBERED, called, format_ns, one_line

__all__ = ["tree_lines"]

SLOWEST: Final = 3
"""Siblings shown one by one where there are too many to show them all."""
_INDENT: Final = "  "


def tree_lines(node: Node, depth: int = 0) -> Iterator[str]:
    """Yield one line for `node`, then those of what is below it, in order of start.

    Siblings of one type and name beyond a few are one line with their totals, followed by the
    slowest of them.
    """
    yield _INDENT * depth + _node_line(node)
    if node.below is None:
        return
    entries: list[tuple[int, Node | Group]] = []
    for group in node.below:
        if len(group.slowest) == group.count:
            entries += [(child.event.start_ns, child) for child in group.slowest]
        else:
            entries.append((group.first_ns, group))
    for _, entry in sorted(entries, key=lambda pair: pair[0]):
        if isinstance(entry, Node):
            yield from tree_lines(entry, depth + 1)
        else:
            yield from _group_lines(entry, depth + 1)


def _group_lines(group: Group, depth: int) -> Iterator[str]:
    yield _INDENT * depth + _group_line(group)
    slowest = group.ranked()
    for node in slowest[:SLOWEST]:
        yield from tree_lines(node, depth + 1)
    others = group.folded_copy()
    for node in slowest[SLOWEST:]:
        if node.below is not None:
            fold(node.below, others)
    if others:
        yield f"{_INDENT * (depth + 1)}inside the others: {', '.join(_folded(*item) for item in others.items())}"


def _node_line(node: Node) -> str:
    event = node.event
    is_job, attempt = event.type == EventType.JOB, event.attempt
    label = called(event.type, event.name)
    if is_job and event.job_index is not None:
        label += f"[{event.job_index}]"
    elif event.type in NUMBERED and attempt is not None:
        label += f" #{attempt}"
    # A point event has no duration, and how it ended is no news.
    parts = [label, format_ns(node.duration_ns), event.status or ""] if node.duration_ns else [label]
    if is_job and attempt is not None and attempt > 1:
        parts.append(f"{attempt} attempts")
    if is_job and event.queue_ns:
        parts.append(f"queue {format_ns(event.queue_ns)}")
    if node.below is not None and node.below.backoff_ns:
        parts.append(f"back-off {format_ns(node.below.backoff_ns)}")
    if event.busy_ns is not None:
        parts.append(f"busy {format_ns(event.busy_ns)}")
    if event.error is not None:
        parts.append(one_line(event.error))
    return _INDENT.join(parts)


def _group_line(group: Group) -> str:
    tally = group.tally
    durations = tally.durations
    parts = [f"{called(group.type, group.name)} x {group.count:,}", f"total {format_ns(durations.total)}"]
    for name, value in zip(("p50", "p95"), durations.quantiles(0.5, 0.95), strict=True):
        parts.append(f"{name} {format_ns(value or 0)}")
    parts.append(f"max {format_ns(durations.maximum or 0)}")
    parts += [
        f"{number:,} {what}"
        for number, what in (
            (tally.failed, "failed"),
            (tally.cancelled, "cancelled"),
            (tally.skipped, "skipped"),
        )
        if number
    ]
    parts += [
        f"{what} {format_ns(value)}"
        for what, value in (
            ("queue", tally.queue_ns),
            ("busy", tally.busy_ns),
            ("back-off", tally.backoff_ns),
        )
        if value
    ]
    return _INDENT.join(parts)


def _folded(key: tuple[str, str], entry: Folded) -> str:
    failed = f", {entry.failed:,} failed" if entry.failed else ""
    return f"{called(*key)} x {entry.count:,} ({format_ns(entry.total_ns)}{failed})"
