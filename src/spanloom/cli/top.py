"""``spanloom top``: what a run is at, again and again while it runs."""

from __future__ import annotations

import sys
import time
from collections import deque
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from spanloom.cli._live import ask_live, live_lines
from spanloom.cli._options import example, file_option, json_option, run_argument
from spanloom.cli._output import console, is_terminal, print_json
from spanloom.cli._page import page_width, print_page, width_option
from spanloom.exceptions import RunNotFoundError, StoreNotFoundError
from spanloom.store.model import RunState

if TYPE_CHECKING:
    from rich.text import Text

    from spanloom.store.model import Run
    from spanloom.store.reader import StoreReader
    from spanloom.viewer.top import Now

__all__ = ["find_run", "place_of", "top"]

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
@click.option("--once", is_flag=True, help="Look once. So it is wherever the output is not a terminal.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Look again after so long.",
)
@click.option("--wait", is_flag=True, help="Wait for a run that starts from now on, and watch that.")
@width_option
@file_option
@json_option
def top(
    run: str, once: bool, interval: float, wait: bool, width: int | None, path: Path | None, as_json: bool
) -> None:
    """Watch a run until it ends, or see what a dead one was at.

    Shows how far each batch is, how fast it goes and when it will be done, and what is in flight: for how long, and
    whether it runs, waits for a slot or backs off before its next attempt. A running process that is watched, as by
    `spanloom run`, says what holds its event loop, too, and who waits for which lock, limiter or queue that whom holds.

    RUN is the start of its id, "last", the id of its process, or a file; without it, the last run.
    """
    from spanloom.store.reader import StoreReader
    from spanloom.viewer._layout import WIDTH
    from spanloom.viewer.top import top_lines

    file, ref = place_of(run, path)
    found = _next_run(file) if wait else None
    with StoreReader(file) as store:
        found = found or find_run(store, ref)
        if as_json:
            print_json(_plain(_look(store, found)) | {"live": _live(found)})
        elif once or not is_terminal():
            columns = page_width(width) if width or is_terminal() else WIDTH
            lines = top_lines(_look(store, found), width=columns, height=ONCE_LINES)
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


def place_of(ref: str, path: Path | None) -> tuple[Path, str]:
    """Return the file and the reference in it that a user means by RUN, or by the number of a process; see `locate`.

    Whatever the current folder is: `spanloom run` has left a note of where a process is recorded.
    """
    from spanloom.store.locate import locate

    if ref.isdecimal() and path is None:
        from spanloom.diagnosis.watch.notes import note_of

        note = note_of(int(ref))
        if note is not None and note.path.is_file():
            return note.path, note.run_id
    return locate(ref, path)


def find_run(store: StoreReader, ref: str) -> Run:
    """Return the run of a process, the one that is running before those that were, or what else `ref` names."""
    if ref.isdecimal():
        runs = [run for run in store.runs() if run.pid == int(ref)]
        runs.sort(key=lambda run: run.state != RunState.RUNNING)
        if runs:
            return runs[0]
        try:
            return store.find(ref)
        except RunNotFoundError as error:
            raise RunNotFoundError(f"no run is that of a process {ref}, and {error}") from None
    return store.find(ref)


def _look(store: StoreReader, run: Run) -> Now:
    from spanloom.viewer.top import ENDED_BATCHES, WINDOW_NS, look

    # In this order: what the run says that it has produced is then no less than what is counted here, however long ago
    # the run was looked up.
    summary = store.summary(run)
    run = store.find(run.run_id)
    now_ns = run.seen_ns
    if run.state == RunState.RUNNING:
        now_ns = max(now_ns, time.time_ns() - run.started_wall_ns)
    still_open = list(store.records(run, is_open=True))
    batches = [record for record in still_open if record.type == "batch"]
    if not batches:
        batches = list(deque(store.records(run, types=["batch"]), maxlen=ENDED_BATCHES))
    return look(run, now_ns, summary, batches, still_open, store.jobs_ended_since(run, now_ns - WINDOW_NS))


def _watch(store: StoreReader, run: Run, interval: float, width: int | None) -> None:
    from rich.live import Live

    terminal = console()
    with Live(console=terminal, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            now = _look(store, run)
            run = now.run
            live.update(_drawn(now, _live(run), width or terminal.width, terminal.height), refresh=True)
            if run.state != RunState.RUNNING:
                return
            time.sleep(max(interval, (time.monotonic() - began) / SHARE))


def _live(run: Run) -> dict[str, Any] | None:
    return ask_live(run.pid) if run.state == RunState.RUNNING else None


def _drawn(now: Now, live: dict[str, Any] | None, width: int, height: int) -> Text:
    from rich.text import Text

    from spanloom.cli._page import styled
    from spanloom.viewer.top import top_lines

    below = list(live_lines(live, width))[: max(0, height // 2)]
    above = top_lines(now, width=width, height=height - 1 - len(below))
    return Text("\n", no_wrap=True, overflow="crop").join(styled(line) for line in chain(above, below))


def _plain(now: Now) -> dict[str, object]:
    return {
        "v": 1,
        "run": now.run,
        "now_ns": now.now_ns,
        "summary": now.summary,
        "per_second": now.per_second,
        "batches": [batch._asdict() for batch in now.batches],
        "in_flight": [flight._asdict() | {"event_id": f"{flight.event_id:016x}"} for flight in now.in_flight],
    }
