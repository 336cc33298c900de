"""One run as a page of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

from spanloom.handlers._text import NUMBERED, count_of, format_ns, printable
from spanloom.store.model import Record, Run, RunState
from spanloom.viewer._command import typed
from spanloom.viewer._frames import raised_at
from spanloom.viewer._ids import short_id
from spanloom.viewer._layout import WIDTH, Line, fit, label, sparkline, table, times
from spanloom.viewer._names import NameStats
from spanloom.viewer._open import OpenEvent
from spanloom.viewer._tree_text import tree_lines
from spanloom.viewer._when import when
from spanloom.viewer.analysis import Analysis

__all__ = ["show_lines"]

_NAMES: Final = 25
_ERRORS: Final = 10
_PATH: Final = 8
_NOTHING: Final = {
    RunState.ENDED: "Nothing was recorded: no event has started.",
    RunState.RUNNING: "Nothing has been recorded yet: an event appears within 0.2 s of its start.",
    RunState.INTERRUPTED: "Nothing was recorded: what started in the last 0.2 s before the process died is not known.",
}
_OPEN: Final = {
    RunState.ENDED: "Never ended: what was open when the run ended",
    RunState.RUNNING: "Open now",
    RunState.INTERRUPTED: "Interrupted: what was open when the process died",
}
_HEADS: Final = (
    "name",
    "count",
    "failed",
    "cancelled",
    "skipped",
    "open",
    "queue",
    "total",
    "self",
    "busy",
    "back-off",
    "p50",
    "p95",
    "p99",
    "max",
)
_SPARE: Final = tuple(
    map(_HEADS.index, ("p99", "back-off", "busy", "p95", "queue", "cancelled", "skipped", "open"))
)
"""Columns that a narrow page does without, the first one first."""


def show_lines(
    analysis: Analysis, *, width: int = WIDTH, everything: bool = False, stuck: Sequence[str] = ()
) -> Iterator[Line]:
    """Yield the page of a run.

    Args:
        analysis: What was found in it.
        width: Columns of the page.
        everything: Show all there is, where the page would say "12 more".
        stuck: Sentences on what the run was stuck at, if it was.
    """
    sections = (
        _header(analysis, width, stuck),
        _open(analysis, everything=everything),
        _concurrency(analysis),
        _tree(analysis, width, everything=everything),
        _names(analysis, width, everything=everything),
        _errors(analysis, everything=everything),
        _slowest(analysis, width),
        _path(analysis, everything=everything),
    )
    between = False
    for section in sections:
        for line in fit(section, width):
            if between:
                yield Line("")
                between = False
            yield line
        between = True


def _header(analysis: Analysis, width: int, stuck: Sequence[str]) -> Iterator[Line]:
    run = analysis.run
    yield Line(f"Run {short_id(run.run_id)}  {printable(run.name)}  {state_of(run)}", "head")
    for name, text, style in _facts(analysis):
        yield Line(f"  {name:<9} {text}", style)
    for sentence in stuck:
        for number, part in enumerate(wrap(sentence, max(20, width - 12), break_on_hyphens=False)):
            yield Line(f"  {'' if number else 'stuck':<9} {part}", "bad")


def _facts(analysis: Analysis) -> Iterator[tuple[str, str, str]]:
    run = analysis.run
    lasted = {RunState.ENDED.value: "took {}", RunState.RUNNING.value: "running for {} so far"}
    took = lasted.get(run.state, "last heard of {} later").format(format_ns(analysis.duration_ns))
    yield "started", f"{when(run.started_wall_ns)}, {took}", ""
    if run.argv:
        yield "command", typed(run.argv), ""
    process = f"{run.pid} on {run.host}, in {run.cwd}; Python {run.python}, spanloom {run.version}"
    yield "process", printable(process, 300), ""
    lost = (
        f"; {run.dropped:,} more were lost, and nothing below counts them" if run.dropped else ", none lost"
    )
    yield "events", f"{analysis.events:,}{lost}", "bad" if run.dropped else ""
    if run.thinned:
        why = "that went well were removed to keep the file within its limit; nothing below counts them"
        yield "thinned", f"{run.thinned:,} events {why}", "bad"
    if analysis.total("count", "job"):
        yield "jobs", _ends(analysis), ""
    if analysis.unplaced and not analysis.unwritten:
        yield "no parent", f"{analysis.unplaced:,} events whose parent is not in the record", "dim"


def state_of(run: Run) -> str:
    """Say in a few words how a run ended, if it did."""
    if run.state == RunState.RUNNING:
        return "is running"
    if run.state == RunState.INTERRUPTED:
        return "INTERRUPTED: its process died"
    return "ended" if run.exit_code is None else f"ended with exit code {run.exit_code}"


def _ends(analysis: Analysis) -> str:
    parts = [
        f"{number:,} {what}"
        for what, number in (
            ("ok", analysis.total("ok", "job")),
            ("failed", analysis.total("failed", "job")),
            ("cancelled", analysis.total("cancelled", "job")),
            ("skipped", analysis.total("skipped", "job")),
            (_open_word(analysis), analysis.total("open", "job")),
        )
        if number
    ]
    return f"{analysis.total('count', 'job'):,}: {', '.join(parts)}"


def _open_word(analysis: Analysis) -> str:
    return "interrupted" if analysis.run.state != RunState.RUNNING else "running"


def _open(analysis: Analysis, *, everything: bool) -> Iterator[Line]:
    if not analysis.open and not analysis.unwritten:
        return
    dead = analysis.run.state != RunState.RUNNING
    yield Line(_OPEN[RunState(analysis.run.state)], "head")
    for group in analysis.open:
        yield Line(f"  {label(group.type, group.name)}: {group.count:,}", "bad" if dead else "")
        shown = group.oldest if everything else group.oldest[:10]
        for event in shown:
            yield Line(f"    {_open_event(event)}")
        if group.count > len(shown):
            yield Line(f"    and {group.count - len(shown):,} more, which had run for less time", "dim")
    if analysis.unwritten:
        jobs = analysis.unwritten
        listed = ", ".join(f"[{index}]" for index in jobs[:10]) + (", …" if len(jobs) > 10 else "")
        one = len(jobs) == 1
        what = "1 job had" if one else f"{len(jobs):,} jobs had"
        yield Line(f"  {what} just started, and {'was' if one else 'were'} not yet written: {listed}")


def _open_event(event: OpenEvent) -> str:
    record, end_ns = event.record, event.record.start_ns + event.age_ns
    index = f"[{record.job_index}]  " if record.job_index is not None else ""
    inside = ", ".join(f"{numbered(inner)} {format_ns(end_ns - inner.start_ns)}" for inner in event.inside)
    return f"{index}{format_ns(event.age_ns)}" + (f"  in {inside}" if inside else "")


def numbered(record: Record) -> str:
    """Return type and name of a record, with which attempt it is."""
    number = f" #{record.attempt}" if record.type in NUMBERED and record.attempt else ""
    return label(record.type, record.name) + number


def _concurrency(analysis: Analysis) -> Iterator[Line]:
    curve = analysis.concurrency
    if curve is None:
        return
    mean = sum(curve.means) / len(curve.means)
    yield Line(
        f"Jobs at once: {mean:.1f} on average, at most {curve.peak:,} (after {format_ns(curve.peak_ns)})",
        "head",
    )
    yield Line(f"  {sparkline(curve.means, curve.peak)}")
    start, end = (
        format_ns(round(ns))
        for ns in (
            curve.start_ns,
            min(curve.start_ns + curve.bucket_ns * len(curve.means), analysis.duration_ns),
        )
    )
    gap = max(1, len(curve.means) - len(start) - len(end))
    legend = f"  {start}{' ' * gap}{end}   one column is {format_ns(round(curve.bucket_ns))}"
    yield Line(legend, "dim")


def _tree(analysis: Analysis, width: int, *, everything: bool) -> Iterator[Line]:
    if not analysis.tree:
        yield Line(_NOTHING[RunState(analysis.run.state)], "dim")
        return
    yield from tree_lines(analysis.tree, width, everything=everything)


def _names(analysis: Analysis, width: int, *, everything: bool) -> Iterator[Line]:
    if not analysis.names:
        return
    stats = sorted(analysis.names, key=lambda each: -each.self_ns)
    shown = stats if everything else stats[:_NAMES]
    lines = table(_HEADS, [_row(each) for each in shown], width - 2, spare=_SPARE)
    yield Line("By name, sorted by self time (total: sum of the durations; queue: before the start)", "head")
    yield Line(f"  {lines[0]}", "dim")
    for each, line in zip(shown, lines[1:], strict=True):
        yield Line(f"  {line}", "bad" if each.failed else "")
    if len(stats) > len(shown):
        yield Line(f"  and {len(stats) - len(shown):,} more names", "dim")


def _row(stats: NameStats) -> tuple[str, ...]:
    quantiles = stats.durations.quantiles(0.5, 0.95, 0.99)
    counts = (stats.failed, stats.cancelled, stats.skipped, stats.open)
    return (
        label(stats.type, stats.name),
        f"{stats.count:,}",
        *(f"{count:,}" if count else "" for count in counts),
        times(stats.queue_ns),
        times(stats.span_ns),
        times(stats.self_ns),
        times(stats.busy_ns),
        times(stats.backoff_ns),
        *(times(value) for value in quantiles),
        times(stats.durations.maximum),
    )


def _errors(analysis: Analysis, *, everything: bool) -> Iterator[Line]:
    groups = analysis.errors
    if not groups:
        return
    raised, kinds = sum(group.count for group in groups), len(groups)
    yield Line(f"Errors: {raised:,}, of {count_of(kinds, 'kind')}", "head")
    shown = groups if everything else groups[:_ERRORS]
    for group in shown:
        message = f": {printable(group.shape, 300)}" if group.shape else ""
        yield Line(f"  {group.count:>6,} × {printable(group.type)}{message}", "bad")
        where = ", ".join(label(*key) for key in list(group.names)[:3])
        ended = f"; ended {count_of(group.jobs, 'job')}" if group.jobs else ""
        span = f"first after {format_ns(group.first_ns)}"
        if group.last_ns != group.first_ns:
            span += f", last after {format_ns(group.last_ns)}"
        yield Line(f"           in {where}{ended}; {span}", "dim")
        if group.frame is not None:
            at = printable(raised_at(group.frame, group.own_frame), 300)
            yield Line(f"           raised at {at}", "dim")
        example = " ".join(group.example.split())
        if example != group.shape:
            yield Line(f"           such as: {printable(example, 300)}", "dim")
    if kinds > len(shown):
        yield Line(f"  and {kinds - len(shown):,} more kinds", "dim")


def _slowest(analysis: Analysis, width: int) -> Iterator[Line]:
    if len(analysis.slowest) < 2:  # a single one is in the tree
        return
    yield Line("Slowest jobs", "head")
    heads = ("job", "took", "queue", "self", "back-off", "attempts", "busy", "ended", "mostly")
    rows = []
    for kept in analysis.slowest:
        record = kept.record
        below = "" if kept.below is None else numbered(kept.below)
        if kept.below is not None and kept.below.end_ns is not None:
            below += f" {format_ns(kept.below.end_ns - kept.below.start_ns)}"
        rows.append(
            (
                f"{printable(record.name, width // 4)}[{record.job_index}]",
                format_ns(kept.span_ns),
                times(record.queue_ns),
                times(kept.self_ns),
                times(kept.backoff_ns),
                f"{record.attempt}" if (record.attempt or 1) > 1 else "",
                times(record.busy_ns),
                record.status or "open",
                below,
            )
        )
    last = len(heads) - 1
    lines = table(heads, rows, width - 2, words=(0, last), flexible=last, spare=(6, 5, 3))
    yield Line(f"  {lines[0]}", "dim")
    for line in lines[1:]:
        yield Line(f"  {line}")


def _path(analysis: Analysis, *, everything: bool) -> Iterator[Line]:
    path, whole_ns = analysis.path, analysis.duration_ns
    if not path.steps or not whole_ns:
        return
    outside_ns = path.gaps_ns + whole_ns - path.end_ns
    steps = (
        f"{count_of(path.steps, 'event')}, one after another, make up"
        if path.steps > 1
        else "1 event makes up"
    )
    yield Line(f"Critical path: {steps} the {format_ns(whole_ns)}", "head")
    parts = sorted(path.spent_ns.items(), key=lambda item: -item[1])
    shown = [(stats, ns) for stats, ns in parts if ns * 1_000 >= whole_ns]
    if not everything:
        shown = shown[:_PATH]
    for stats, ns in shown:
        yield Line(f"  {ns / whole_ns:>6.1%}  {format_ns(ns):>8}  {label(stats.type, stats.name)}")
    rest_ns = sum(ns for _, ns in parts) - sum(ns for _, ns in shown)
    if rest_ns * 1_000 >= whole_ns:
        yield Line(f"  {rest_ns / whole_ns:>6.1%}  {format_ns(rest_ns):>8}  {len(parts) - len(shown)} others")
    if outside_ns:
        yield Line(
            f"  {outside_ns / whole_ns:>6.1%}  {format_ns(outside_ns):>8}  outside of any event", "dim"
        )
    if path.steps > 1:
        longest = [step for step in path.longest if step.self_ns * 100 >= whole_ns][:3]
        if longest:
            named = ", ".join(
                f"{numbered(step.record)}{_of_job(step.record)} {format_ns(step.self_ns)}" for step in longest
            )
            yield Line(f"  longest: {named}", "dim")


def _of_job(record: Record) -> str:
    return "" if record.job_index is None else f" [{record.job_index}]"
