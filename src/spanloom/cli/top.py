"""``spanloom top``: what a run is at, again and again while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from spanloom.cli._live import ask_live, live_lines
from spanloom.cli._options import example, file_option, json_option, run_argument
from spanloom.cli._output import console, is_terminal, print_json
from spanloom.cli._page import page_width, print_page, width_option
from spanloom.cli._which import find_run, place_of
from spanloom.exceptions import StoreNotFoundError
from spanloom.store.model import RunState

if TYPE_CHECKING:
    from rich.text import Text

    from spanloom.store.model import Run
    from spanloom.store.reader import StoreReader
    from spanloom.viewer._layout import Line
    from spanloom.viewer.top import Now

__all__ = ["top"]

SHARE: Final = 0.1
"""Most of the time that looking may take: a run of a million jobs is looked at less often."""
POLL_S: Final = 0.2
ONCE_LINES: Final = 60
"""Of the page where it is printed once; of ten thousand jobs in flight, nobody reads more."""


@click.command(
    epilog=example(
        "spanloom top", "spanloom top 4711", "spanloom top --wait", "spanloom top last --once --json"
    )
)
@run_argument()
@click.option("--once", is_flag=True, help="Look once, as happens anyway when the output is not a terminal.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Look again after this long.",
)
@click.option("--wait", is_flag=True, help="Wait for the next run that starts, and watch that one.")
@width_option
@file_option
@json_option
def top(
    run: str, once: bool, interval: float, wait: bool, width: int | None, path: Path | None, as_json: bool
) -> None:
    """Watch a run until it ends, or see what a dead one was doing.

    Shows how far each batch is, how fast it goes and when it will be done, and what is in flight: for how long, and
    whether it runs, waits for a slot or backs off before its next attempt. A process that runs under `spanloom run` is
    also asked what holds its event loop, who waits for which lock, limiter or queue, and who holds that.

    RUN is the start of its id, "last", the id of its process, or a file; without it, the last run.
    """
    from spanloom.store.reader import StoreReader
    from spanloom.viewer._layout import WIDTH
    from spanloom.viewer.looking import look_at
    from spanloom.viewer.top import top_lines

    file, ref = place_of(run, path)
    found = _next_run(file) if wait else None
    with StoreReader(file) as store:
        found = found or find_run(store, ref)
        if as_json:
            from spanloom.viewer.plain import plain_now  # the analysis with it, which the text does without

            print_json(plain_now(look_at(store, found)) | {"live": _live(found)})
        elif once or not is_terminal():
            columns = page_width(width) if width or is_terminal() else WIDTH
            lines = top_lines(look_at(store, found), width=columns, height=ONCE_LINES)
            print_page(chain(lines, live_lines(_live(found), columns)))
        else:
            _watch(store, found, interval, width)


def _next_run(file: Path) -> Run:
    """Wait for a run that starts from now on."""
    from spanloom.store.reader import StoreReader

    since = time.time_ns()
    if is_terminal(sys.stderr):
        click.echo(f"waiting for a run to be recorded in {file}", err=True)
    while True:
        try:
            with StoreReader(file) as store:
                runs = store.runs(limit=1)
        except StoreNotFoundError:
            runs = []
        if runs and runs[0].started_wall_ns >= since:
            return runs[0]
        time.sleep(POLL_S)


def _watch(store: StoreReader, run: Run, interval: float, width: int | None) -> None:
    from rich.live import Live

    from spanloom.viewer._layout import plain
    from spanloom.viewer.looking import look_at

    terminal = console()
    with Live(console=terminal, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            now = look_at(store, run)
            run = now.run
            view = _view(now, _live(run), width or terminal.width, terminal.height)
            live.update(_drawn(plain(view, terminal.encoding)), refresh=True)
            if run.state != RunState.RUNNING:
                return
            time.sleep(max(interval, (time.monotonic() - began) / SHARE))


def _live(run: Run) -> dict[str, Any] | None:
    return ask_live(run.pid) if run.state == RunState.RUNNING else None


def _view(now: Now, live: dict[str, Any] | None, width: int, height: int) -> Iterator[Line]:
    from spanloom.viewer.top import top_lines

    below = list(live_lines(live, width))[: max(0, height // 2)]
    yield from top_lines(now, width=width, height=height - 1 - len(below))
    yield from below


def _drawn(lines: Iterable[Line]) -> Text:
    from rich.text import Text

    from spanloom.cli._page import styled

    return Text("\n", no_wrap=True, overflow="crop").join(map(styled, lines))
