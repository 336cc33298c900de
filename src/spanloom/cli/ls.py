"""``spanloom ls``: which runs there are."""

from __future__ import annotations

import time
from pathlib import Path

import click

from spanloom.cli._options import example, file_option, json_option
from spanloom.cli._output import print_json
from spanloom.cli._page import page_width, print_page, width_option

__all__ = ["ls"]


@click.command(epilog=example("spanloom ls --limit 5", "spanloom ls --json"))
@click.option("--limit", type=click.IntRange(min=1), help="List only so many runs, the newest.")
@width_option
@file_option
@json_option
def ls(limit: int | None, width: int | None, path: Path | None, as_json: bool) -> None:
    """List the recorded runs, the newest first: one line each, with its jobs and how they ended.

    "open" counts events without an end: running now or, in a run whose process died, interrupted.
    """
    from spanloom.store.locate import locate
    from spanloom.store.reader import StoreReader
    from spanloom.viewer.listing import list_lines, plain_list

    file, _ = locate("last", path)
    with StoreReader(file) as store:
        every = store.runs()
        listed = [(run, store.summary(run)) for run in every[:limit]]
    if as_json:
        print_json(plain_list(listed))
    else:
        ids = [run.run_id for run in every]
        print_page(list_lines(listed, ids=ids, width=page_width(width), now_ns=time.time_ns()))
