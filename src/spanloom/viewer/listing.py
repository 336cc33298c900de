"""The list of runs, as lines of text and as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from spanloom.handlers._text import format_ns, printable
from spanloom.store.model import Run, RunState, Summary
from spanloom.viewer._ids import short_ids
from spanloom.viewer._layout import WIDTH, Line, table
from spanloom.viewer._when import when
from spanloom.viewer.plain import VERSION, plain_run

__all__ = ["list_lines", "plain_list"]

_HEADS: Final = ("run", "name", "started", "took", "state", "jobs", "failed", "open", "lost")
_SPARE: Final = tuple(map(_HEADS.index, ("lost", "open", "started")))
"""Columns that a narrow page does without, the first one first."""


def list_lines(
    runs: Sequence[tuple[Run, Summary]], *, ids: Iterable[str] = (), width: int = WIDTH, now_ns: int
) -> Iterator[Line]:
    """Yield a table with one line for each run.

    Args:
        runs: In the order in which they are to be listed.
        ids: The ids of all runs there are, if these are not all: what is shown of an id is unique among them.
        width: Columns of the page.
        now_ns: Nanoseconds since the epoch, for how long a running run has been running.
    """
    if not runs:
        yield Line("No runs have been recorded.", "dim")
        return
    short = short_ids([*ids, *(run.run_id for run, _ in runs)])
    rows = [_row(run, summary, short, now_ns) for run, summary in runs]
    lines = table(_HEADS, rows, width, words=(0, 1, 2, 4), flexible=1, spare=_SPARE)
    yield Line(lines[0], "head")
    for (run, summary), line in zip(runs, lines[1:], strict=True):
        bad = summary.failed or run.dropped or run.state == RunState.INTERRUPTED or run.exit_code
        yield Line(line, "bad" if bad else "")


def plain_list(runs: Iterable[tuple[Run, Summary]]) -> dict[str, object]:
    """Return the list as data for ``--json``; docs/reference/json.md explains its keys."""
    return {
        "v": VERSION,
        "runs": [
            plain_run(run)
            | {
                "events": summary.events,
                "jobs": summary.jobs,
                "failed": summary.failed,
                "cancelled": summary.cancelled,
                "open": summary.open,
            }
            for run, summary in runs
        ],
    }


def _row(run: Run, summary: Summary, short: dict[str, str], now_ns: int) -> tuple[str, ...]:
    until_ns = run.ended_wall_ns
    if until_ns is None:
        until_ns = (
            max(now_ns, run.last_seen_wall_ns) if run.state == RunState.RUNNING else run.last_seen_wall_ns
        )
    state = run.state if not run.exit_code else f"{run.state}, exit {run.exit_code}"
    return (
        short[run.run_id],
        printable(run.name, 60),
        when(run.started_wall_ns),
        format_ns(max(0, until_ns - run.started_wall_ns)),
        state,
        f"{summary.jobs:,}",
        *(f"{count:,}" for count in (summary.failed, summary.open, run.dropped)),
    )
