"""The timing table of a summary, as plain text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any, Final

from spanloom.handlers._text import format_ns, printable

__all__ = ["html_table", "text_table"]

_TIMES: Final = (
    ("queue", "queue_ns"),
    ("run", "run_ns"),
    ("busy", "busy_ns"),
    ("back-off", "backoff_ns"),
    ("mean", "mean_ns"),
    ("p50", "p50_ns"),
    ("p95", "p95_ns"),
    ("p99", "p99_ns"),
    ("max", "max_ns"),
)
_COUNTS: Final = ("count", "ok", "failed", "cancelled", "open")
_HEADS: Final = ("type", "name", *_COUNTS, *(head for head, _ in _TIMES))
_LEFT: Final = 2
"""Columns of words, at the left; the others are numbers."""
_LEGEND: Final = (
    "queue, run, busy, back-off: sums over all events, run from start to end; -: none, or not measured"
)

_EMPTY: Final = "no events so far; manager.flush() hands over those that are on their way"

# Any: the summary is plain data made for JSON; its shape is documented at DebugHandler.summary.
Summary = Mapping[str, Any]


def text_table(summary: Summary) -> str:
    """Return an aligned table with one line per type and name, and a legend; a sentence if there are no events."""
    rows = [_HEADS, *_rows(summary)]
    if len(rows) == 1:
        return _EMPTY
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column < _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], _LEGEND])


def html_table(summary: Summary) -> str:
    """Return the same table as HTML; everything in it is escaped."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in _HEADS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(summary)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(_LEGEND)}</p>"


def _rows(summary: Summary) -> Iterator[tuple[str, ...]]:
    for type, of_type in summary["types"].items():
        for name, stats in of_type["names"].items():
            counts = {**stats, "failed": stats["errors"] + stats["timeouts"], "open": stats["in_flight"]}
            yield (
                printable(type, 40),
                printable(name, 40),
                *(_number(counts[key]) for key in _COUNTS),
                *(_time(stats[key]) for _, key in _TIMES),
            )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _time(value_ns: int | None) -> str:
    return "-" if not value_ns else format_ns(value_ns)
