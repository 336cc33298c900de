"""The report: figures as Markdown for people, and as JSON for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from bench.figure import DECIMALS, Figure
from bench.suites import SUITES

_SUFFIX = {"x": " x", "+x": "", "B": " B", "ms": " ms", "us": " us", "lost": "", "/s": "/s"}
_COUNTS = {"lost", "/s"}


def _number(value: float, unit: str) -> str:
    if unit in _COUNTS:
        return f"{value:,.0f}"
    sign = "+" if unit == "+x" else ""
    # adding zero turns the -0.0 of a tiny negative difference into 0.0
    return f"{round(value, DECIMALS) + 0.0:{sign},.{DECIMALS}f}"


def _with_spread(one: Figure) -> str:
    text = _number(one.median, one.unit)
    if one.q1 == one.q3:
        return f"{text}{_SUFFIX[one.unit]}"
    return f"{text}{_SUFFIX[one.unit]} [{_number(one.q1, one.unit)} - {_number(one.q3, one.unit)}]"


def _verdict(one: Figure) -> str:
    return "held" if one.held else f"**MISSED** ({_number(one.median, one.unit)})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] + ['---:'] * (len(head) - 1))} |"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def budgets(figures: Iterable[Figure]) -> list[str]:
    """Return the table of the ceilings and whether each is held, as lines of Markdown."""
    judged = [one for one in figures if one.held is not None]
    if not judged:
        return ["No figure of this run has a ceiling.", ""]
    missed = sum(not one.held for one in judged)
    rows = [
        (f"{one.row} ({one.column})", _with_spread(one), _number(one.ceiling or 0.0, one.unit), _verdict(one))
        for one in judged
    ]
    summary = f"{len(judged) - missed} of {len(judged)} ceilings held, {missed} missed."
    return [summary, "", *_table(("what", "median [quartiles]", "ceiling", ""), rows)]


def _cell(one: Figure | None) -> str:
    if one is None:
        return ""
    if one.ns_per_job is None:
        return _with_spread(one)
    return f"{_with_spread(one)}, {one.ns_per_job / 1_000:.2f} us"


def _suite(figures: Sequence[Figure]) -> list[str]:
    lines = []
    for group in dict.fromkeys(one.group for one in figures):
        members = [one for one in figures if one.group == group]
        columns = list(dict.fromkeys(one.column for one in members))
        at = {(one.row, one.column): one for one in members}
        rows = [
            (row, *(_cell(at.get((row, column))) for column in columns))
            for row in dict.fromkeys(one.row for one in members)
        ]
        lines += [f"*{group}*", "", *_table(("", *columns), rows)]
    return lines


def _machine(facts: Mapping[str, object]) -> str:
    packages = facts["packages"]
    versions = (
        ", ".join(f"{name} {number}" for name, number in packages.items())
        if isinstance(packages, dict)
        else ""
    )
    return f"{facts['python']}, {facts['system']}, {facts['processors']} x {facts['processor']}; {versions}."


def markdown(figures: Sequence[Figure], facts: Mapping[str, object], *, rounds: int) -> str:
    """Return the whole report: the budgets first, then every table.

    Args:
        figures: What was measured, in the order to show it in.
        facts: What `bench.machine.describe` says.
        rounds: How many rounds the medians are of, at least.
    """
    lines = [
        _machine(facts),
        "",
        f"Medians of at least {rounds} interleaved rounds, with quartiles. "
        "Ratios carry over to other machines; microseconds do not.",
        "",
        "## Ceilings",
        "",
        *budgets(figures),
    ]
    for suite in dict.fromkeys(one.suite for one in figures):
        lines += [f"## {SUITES[suite].title}", "", *_suite([one for one in figures if one.suite == suite])]
    return "\n".join(lines)


def as_json(figures: Iterable[Figure], facts: Mapping[str, object], *, rounds: int) -> str:
    """Return the report as JSON: the machine, the rounds, and every figure with its ceiling and verdict."""
    listed = [asdict(one) | {"held": one.held} for one in figures]
    return json.dumps({"machine": dict(facts), "rounds": rounds, "figures": listed}, indent=1) + "\n"
