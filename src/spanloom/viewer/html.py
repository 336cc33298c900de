"""A run as one self-contained web page: the slots over time, why it was slow, the times by name, the errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TextIO

import msgspec

from spanloom.handlers._text import printable
from spanloom.store.model import Record, Run
from spanloom.viewer._command import typed
from spanloom.viewer._html_columns import pack
from spanloom.viewer._html_page import write_page
from spanloom.viewer._html_picture import STATUSES, Picture
from spanloom.viewer._html_tables import sections
from spanloom.viewer._sweep import parents_first
from spanloom.viewer.analysis import analyse

__all__ = ["write_html"]

MOST_LISTED: Final = 20
"""Jobs that are named in a sentence."""


def write_html(
    run: Run, records: Iterable[Record], file: TextIO, findings: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write a page that shows `run`: one HTML file, complete in itself, that makes no request.

    One pass over `records`; some 60 bytes of memory are held per event. The page has every event in it, about 12
    bytes of it per job and as much per attempt, so that 100,000 jobs are 1 to 3 MB.

    Args:
        run: The run.
        records: Its records, in order of start.
        file: Where to write, open for text in UTF-8.
        findings: Why the run was slow or stuck, as `spanloom.diagnosis.finding.Finding.to_json` has it.
    """
    picture = Picture(run)
    analysis = analyse(run, _drawn(records, picture))
    tables, columns = pack([picture.bands.table, picture.bars, picture.insets])
    description = _description(run, picture)
    description["tables"] = tables
    description["unwritten"] = _unwritten(analysis.unwritten)
    bars = picture.bars_of(kept.record for kept in analysis.slowest)
    description["sections"] = sections(analysis, bars, findings)
    write_page(file, description, columns)


def _drawn(records: Iterable[Record], picture: Picture) -> Iterator[Record]:
    """Yield `records`, each after it has been added to `picture`."""
    for record in parents_first(records):
        picture.add(record)
        yield record


def _description(run: Run, picture: Picture) -> dict[str, object]:
    facts = msgspec.to_builtins(run)
    facts["seen_ns"] = run.seen_ns
    return {
        "run": _printable(facts),
        "command": typed(run.argv),
        "tick_ns": picture.tick_ns,
        "end": picture.end,
        "statuses": STATUSES,
        "bands": picture.bands.measured(),
        "texts": picture.texts.all,
        "errors": picture.errors.all,
        "bar_payloads": picture.bar_payloads.all,
        "inset_payloads": picture.inset_payloads.all,
        "left_out": {
            "payloads": picture.bar_payloads.left_out + picture.inset_payloads.left_out,
            "errors": picture.errors.shortened,
        },
    }


def _unwritten(jobs: list[int]) -> str:
    """Say which jobs only have events inside them in the record; empty if there is none."""
    if not jobs:
        return ""
    listed = ", ".join(f"#{index}" for index in jobs[:MOST_LISTED]) + (
        ", …" if len(jobs) > MOST_LISTED else ""
    )
    what = (
        "1 job had just started, and was"
        if len(jobs) == 1
        else f"{len(jobs):,} jobs had just started, and were"
    )
    return f"{what} not yet written: {listed}. What was inside is drawn outside of jobs."


def _printable(value: object) -> object:
    if isinstance(value, str):
        return printable(value, 2_000)
    if isinstance(value, dict):
        return {key: _printable(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(member) for member in value]
    return value
