"""``spanloom diff``: what is different in another run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from spanloom.cli._errors import ExitCode
from spanloom.cli._options import example, file_option, json_option, opened, run_argument
from spanloom.cli._output import print_json
from spanloom.cli._page import all_option, page_width, print_page, width_option

if TYPE_CHECKING:
    from spanloom.viewer.analysis import Analysis

__all__ = ["diff"]


@click.command(
    epilog=example("spanloom diff", "spanloom diff 3f9c last", "spanloom diff before.db after.db --json")
)
@run_argument("a")
@run_argument("b")
@all_option
@click.option(
    "--check",
    is_flag=True,
    help="Exit with code 1 if, beyond noise, B took longer or something in it fails more often.",
)
@width_option
@file_option
@json_option
def diff(
    a: str, b: str, everything: bool, check: bool, width: int | None, path: Path | None, as_json: bool
) -> ExitCode:
    """Compare two runs: what got slower in B, what fails more often, and how much of the difference each name explains.

    A and B are each the start of an id, "last", or a file. Without B, A is compared with the last run; without both,
    the last run is compared with the one before it that has the same name.
    """
    from spanloom.viewer.analysis import analyse
    from spanloom.viewer.comparison import compare
    from spanloom.viewer.diff import diff_lines
    from spanloom.viewer.plain import plain_comparison

    source_of = click.get_current_context().get_parameter_source
    has_b = source_of("b") is not ParameterSource.DEFAULT
    if source_of("a") is ParameterSource.DEFAULT:
        a = _run_before_last(path)
    analyses: list[Analysis] = []
    for ref in (a, b):
        with opened(ref, path) as (store, found):
            if not has_b and analyses and analyses[0].run.run_id == found.run_id:
                raise click.UsageError("A is the last run, with which it would be compared: name B, too")
            analyses.append(analyse(found, store.records(found)))
    comparison = compare(*analyses)
    if as_json:
        print_json(plain_comparison(comparison))
    else:
        print_page(diff_lines(comparison, width=page_width(width), everything=everything))
    return ExitCode.FAILED if check and comparison.is_worse else ExitCode.OK


def _run_before_last(path: Path | None) -> str:
    """Return the id of the run before the last one that has its name."""
    with opened("last", path) as (store, last):
        for run in store.runs():
            if run.name == last.name and run.run_id != last.run_id:
                return run.run_id
    raise click.UsageError(f"there is no other run of {last.name} to compare the last one with: name A")
