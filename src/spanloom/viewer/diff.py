"""Two runs compared, as a page of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spanloom.handlers._text import count_of, format_ns, printable
from spanloom.store.model import RunState
from spanloom.viewer._ids import short_id
from spanloom.viewer._layout import WIDTH, Line, fit, label, table, times
from spanloom.viewer._when import when
from spanloom.viewer.analysis import Analysis
from spanloom.viewer.comparison import MIN_EFFECT, Change, Comparison, NameChange

__all__ = ["diff_lines", "verdict"]

_NAMES: Final = 12
_ERRORS: Final = 10
_EXPLAINS: Final = 0.1
"""A name is in the verdict if its share is at least this."""
_NOTABLE: Final = 0.005
"""A change that makes no difference to the whole is told if it is more than this share of the time spent."""
_HEADS: Final = ("share", "change", "name", "time spent", "events", "each", "")


def diff_lines(comparison: Comparison, *, width: int = WIDTH, everything: bool = False) -> Iterator[Line]:
    """Yield the page of a comparison.

    Args:
        comparison: What was found.
        width: Columns of the page.
        everything: Show all there is, where the page would say "12 more".
    """
    yield from fit(_page(comparison, width, everything=everything), width)


def _page(comparison: Comparison, width: int, *, everything: bool) -> Iterator[Line]:
    for side, analysis in (("A", comparison.a), ("B", comparison.b)):
        yield from _run(side, analysis)
    yield Line("")
    for number, sentence in enumerate(verdict(comparison)):
        yield Line(sentence, "" if number else "head")
    sections = (
        _wall(comparison),
        _names(comparison, width, everything=everything),
        _waits(comparison, width),
        _failures(comparison, everything=everything),
    )
    for section in sections:
        first = True
        for line in section:
            if first:
                yield Line("")
                first = False
            yield line


def verdict(comparison: Comparison) -> Iterator[str]:
    """Yield what there is to say in sentences, the most important first."""
    a_ns, b_ns = comparison.duration_ns
    by_ns = b_ns - a_ns
    if not comparison.differs:
        if comparison.spent_ns == (0, 0):
            yield "Nothing to compare: neither run has an event that took time."
        else:
            yield f"No difference beyond noise: A took {format_ns(a_ns)}, B {format_ns(b_ns)}."
            yield from _nevertheless(comparison)
        return
    than = "longer" if by_ns > 0 else "less"
    relative = f", {by_ns / a_ns:+.1%}" if a_ns else ""
    yield f"B took {format_ns(abs(by_ns))} {than} than A: {format_ns(a_ns)} → {format_ns(b_ns)}{relative}."
    overlap_first = "overlap" in comparison.differs and abs(comparison.overlap_ns) > abs(comparison.work_ns)
    if overlap_first:
        yield _overlap(comparison)
        yield from _straggler(comparison)
    if "work" in comparison.differs:
        of = "difference in time spent" if overlap_first else "difference"
        for name in comparison.names:
            if name.share is not None and name.share >= _EXPLAINS:
                yield _explains(name, of)
    if "outside" in comparison.differs:
        outside_a, outside_b = comparison.outside_ns
        share = comparison.outside_share or 0.0
        yield (f"{share:.1%} of it is outside of any event: {format_ns(outside_a)} → {format_ns(outside_b)}.")
    if "overlap" in comparison.differs and not overlap_first:
        yield _overlap(comparison)
        yield from _straggler(comparison)


def _overlap(comparison: Comparison) -> str:
    once_a, once_b = comparison.at_once
    less, longer = ("Less", "longer") if comparison.overlap_ns > 0 else ("More", "shorter")
    return (
        f"{less} went on at once, {once_a or 0:.1f} → {once_b or 0:.1f} on average: "
        f"that made B {format_ns(abs(round(comparison.overlap_ns)))} {longer}."
    )


def _straggler(comparison: Comparison) -> Iterator[str]:
    """Name the one that the others had ended long before."""
    step = comparison.straggler
    if step is None:
        return
    record = step.record
    which = label(record.type, record.name) + ("" if record.job_index is None else f" [{record.job_index}]")
    usual_ns = next(
        change.mean_ns[0]
        for change in comparison.changes
        if (change.type, change.name) == (record.type, record.name)
    )
    yield (
        f"Most of that is due to one: {which} took {format_ns(step.self_ns)} of B's critical path; "
        f"in A, one took {times(usual_ns, zero='0')} on average."
    )


def _nevertheless(comparison: Comparison) -> Iterator[str]:
    """Name what changed for certain, though it makes no difference to the whole."""
    floor_ns = _NOTABLE * max(comparison.spent_ns)
    for change in comparison.changes:
        if change.speed in {"slower", "faster"} and abs(change.delta_ns) > floor_ns:
            mean_a, mean_b = change.mean_ns
            yield (
                f"Still, {label(change.type, change.name)} got {change.speed}: "
                f"{times(mean_a, zero='0')} → {times(mean_b, zero='0')} each, {_signed(change.delta_ns)} in all."
            )


def _explains(name: NameChange, of: str) -> str:
    part = name.parts[0]
    count_a, count_b = part.count
    mean_a, mean_b = part.mean_ns
    if mean_a is None:
        why = f"{count_of(count_b, 'event')}, none in A"
    elif mean_b is None:
        why = f"{count_of(count_a, 'event')} in A, none in B"
    elif abs(part.more_ns) > abs(part.slower_ns):
        why = f"{count_a:,} → {count_b:,} events"
    else:
        events = f"{count_a:,}" if count_a == count_b else f"{count_a:,} → {count_b:,}"
        factor = f", × {mean_b / mean_a:.2f}" if mean_a else ""
        why = f"{events} events of {times(mean_a, zero='0')} → {times(mean_b, zero='0')} each{factor}"
    return f"{printable(name.name, 80)} explains {name.share:.1%} of the {of}: {why}."


def _run(side: str, analysis: Analysis) -> Iterator[Line]:
    run = analysis.run
    lost = f", {run.dropped:,} lost" if run.dropped else ""
    yield Line(
        f"{side}  {short_id(run.run_id)}  {printable(run.name, 40)}  {when(run.started_wall_ns)}  "
        f"{format_ns(analysis.duration_ns)}, {analysis.events:,} events{lost}"
    )
    if run.state != RunState.ENDED:
        yield Line(f"   {run.state}: what is not over is counted as far as it got", "bad")


def _wall(comparison: Comparison) -> Iterator[Line]:
    a_ns, b_ns = comparison.duration_ns
    spent_a, spent_b = comparison.spent_ns
    once_a, once_b = comparison.at_once
    outside_a, outside_b = comparison.outside_ns
    yield Line(f"What the difference of {_signed(b_ns - a_ns)} is made of", "head")
    rows = (
        (
            comparison.work_ns,
            "time spent in events",
            _arrow(times(spent_a, zero="0"), times(spent_b, zero="0")),
        ),
        (
            comparison.overlap_ns,
            "how much went on at once",
            _arrow(f"{once_a or 0:.1f}", f"{once_b or 0:.1f}"),
        ),
        (
            outside_b - outside_a,
            "outside of any event",
            _arrow(times(outside_a, zero="0"), times(outside_b, zero="0")),
        ),
    )
    for ns, what, change in rows:
        yield Line(f"  {_signed(ns):>9}  {what:<24}  {change}")


def _names(comparison: Comparison, width: int, *, everything: bool) -> Iterator[Line]:
    names = comparison.names
    if not everything:
        largest_ns = max((abs(name.delta_ns) for name in names), default=0)
        names = [name for name in names if abs(name.delta_ns) * 200 >= largest_ns > 0][:_NAMES]
    if not names:
        return
    rows = [row for name in names for row in _rows(name, everything=everything)]
    if comparison.outside_share is not None:
        change_ns = comparison.outside_ns[1] - comparison.outside_ns[0]
        spent = _arrow(*(times(ns, zero="0") for ns in comparison.outside_ns))
        share = _share(comparison.outside_share)
        rows.append(((share, _signed(change_ns), "not explained by any name", spent, "", "", ""), "dim"))
    lines = table(_HEADS, [cells for cells, _ in rows], width - 2, words=(2, 6), flexible=2, spare=(3, 4, 6))
    yield Line("By name: time spent, summed over all that ran at once, without waits for slots", "head")
    yield Line(f"  {lines[0]}", "dim")
    for line, (_, style) in zip(lines[1:], rows, strict=True):
        yield Line(f"  {line}", style)
    left = [name for name in comparison.names if name not in names]
    if left:
        left_share = sum(name.share or 0.0 for name in left)
        shares = f": {_share(left_share)}" if names[0].share is not None else ""
        change = _signed(sum(name.delta_ns for name in left))
        yield Line(f"  and {count_of(len(left), 'more name')}{shares}, {change}", "dim")


def _rows(name: NameChange, *, everything: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the cells and the style of each row of a name: one, or one more for each of several types."""
    parts = [part for part in name.parts if everything or abs(part.delta_ns) * 50 > abs(name.delta_ns)]
    share = _share(name.share) if any(not part.is_noise for part in name.parts) else ""
    indent = ""
    if len(parts) > 1:
        yield (share, _signed(name.delta_ns), printable(name.name, 80), "", "", "", ""), ""
        share, indent = "", "  "
    for part in parts or name.parts[:1]:
        style = "bad" if part.speed == "slower" else "dim" if part.is_noise else ""
        yield (share, _signed(part.delta_ns), indent + label(part.type, part.name), *_part(part)), style


def _part(part: Change) -> tuple[str, ...]:
    mean_a, mean_b = part.mean_ns
    count_a, count_b = part.count
    remark = ""
    if mean_a is None:
        remark = "only in B"
    elif mean_b is None:
        remark = "only in A"
    elif part.speed in {"slower", "faster"}:
        remark = part.speed + (f" × {mean_b / mean_a:.2f}" if mean_a else "")
    elif part.is_noise:
        remark = "noise"
    elif part.speed == "same" and abs(part.more_ns) > abs(part.slower_ns):
        remark = "more of them" if count_b > count_a else "fewer of them"
    return (
        _arrow(*(times(ns, zero="0") for ns in part.self_ns)),
        f"{count_a:,}" if count_a == count_b else _arrow(f"{count_a:,}", f"{count_b:,}"),
        _arrow(*(times(mean, zero="-") for mean in part.mean_ns)),
        remark,
    )


def _waits(comparison: Comparison, width: int) -> Iterator[Line]:
    waits = [
        wait
        for wait in comparison.waits
        if abs(wait.delta_ns) > MIN_EFFECT * max(wait.self_ns) and wait.speed != "same"
    ]
    if not waits:
        return
    yield Line("Waits for slots: an effect, not a cause, unless the limit is what changed", "head")
    rows = [(_signed(wait.delta_ns), label(wait.type, wait.name), *_part(wait)) for wait in waits]
    for line in table(
        ("change", "name", "time spent", "events", "each", ""),
        rows,
        width - 2,
        words=(1, 5),
        flexible=1,
        spare=(2, 3),
    ):
        yield Line(f"  {line}")


def _failures(comparison: Comparison, *, everything: bool) -> Iterator[Line]:
    failing = [change for change in comparison.changes if change.failing != "same"]
    errors = comparison.errors if everything else comparison.errors[:_ERRORS]
    if not failing and not errors:
        return
    yield Line("What fails more, or less", "head")
    for change in failing:
        shares = (
            f"{failed:,} of {count:,} ({failed / count:.1%})"
            for failed, count in zip(change.failed, change.count, strict=True)
        )
        style = "bad" if change.failing == "more" else ""
        yield Line(f"  {change.failing}: {label(change.type, change.name)}, {_arrow(*shares)}", style)
    for error in errors:
        of_a, of_b = error.count
        word = "new" if not of_a else "gone" if not of_b else "more" if of_b > of_a else "less"
        message = f": {printable(error.shape, 300)}" if error.shape else ""
        text = f"  {word}: {_arrow(f'{of_a:,}', f'{of_b:,}')} × {printable(error.type)}{message}"
        yield Line(text, "bad" if of_b > of_a else "")
    if len(comparison.errors) > len(errors):
        yield Line(f"  and {len(comparison.errors) - len(errors):,} more kinds of errors", "dim")


def _arrow(a: str, b: str) -> str:
    return f"{a} → {b}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _signed(ns: float) -> str:
    ns = round(ns)
    return f"{'-' if ns < 0 else '+'}{format_ns(abs(ns))}" if ns else "0"
