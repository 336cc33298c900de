"""``spanloom show``: where the time of a run went, and what failed."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import click

from spanloom.cli._errors import ExitCode
from spanloom.cli._options import example, file_option, json_option, opened, run_argument
from spanloom.cli._output import print_json
from spanloom.cli._page import all_option, page_width, print_page, width_option

__all__ = ["show"]


@click.command(epilog=example("spanloom show last", "spanloom show 3f9c --json"))
@run_argument()
@all_option
@click.option(
    "--check",
    is_flag=True,
    help="Exit with code 1 if a job failed, the run was interrupted, or events were lost.",
)
@width_option
@file_option
@json_option
def show(
    run: str, everything: bool, check: bool, width: int | None, path: Path | None, as_json: bool
) -> ExitCode:
    """Show one run: what was open when it died, its tree, its times by name, its errors, its critical path.

    RUN is the start of its id, "last", or a file; without it, the last run.
    """
    from spanloom.diagnosis.recorded import explain_stall
    from spanloom.handlers._text import printable
    from spanloom.viewer._layout import Line
    from spanloom.viewer.analysis import analyse
    from spanloom.viewer.plain import plain_analysis
    from spanloom.viewer.show import show_lines

    with opened(run, path) as (store, found):
        analysis = analyse(found, store.records(found))
        stuck = [] if as_json else explain_stall(store, found)
    if as_json:
        print_json(plain_analysis(analysis))
    else:
        told = [f"{one['code']}: {printable(one['message'], 2_000)}" for one in stuck]
        lines = show_lines(analysis, width=page_width(width), everything=everything, stuck=told)
        print_page(chain(lines, (Line(""), Line(f"Why it was slow or stuck: {_asks_why(run, path)}", "dim"))))
    return ExitCode.FAILED if check and not analysis.is_well else ExitCode.OK


def _asks_why(run: str, path: Path | None) -> str:
    from spanloom.viewer._command import typed

    return typed(("spanloom", "why", run, *(() if path is None else ("--file", str(path)))))
