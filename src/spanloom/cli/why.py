"""``spanloom why``: why a process, or a run that was recorded, is stuck or slow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from spanloom.cli._options import example, file_option, run_argument
from spanloom.cli._output import console, is_terminal, print_json, print_text
from spanloom.cli._which import find_run, place_of
from spanloom.exceptions import NotWatchedError, StoreError
from spanloom.handlers._text import printable

if TYPE_CHECKING:
    from spanloom.store.model import Run

__all__ = ["why"]

TIMEOUT_S: Final = 10.0
NOTHING: Final = "nothing is wrong, as far as can be seen"
CAME_THROUGH: Final = "it did not hang, and nothing that made it slow stands out"
UNWRITTEN: Final = (
    "before it had written down that anything is wrong. It does so 5 s after its start for the first time, and "
    "whenever a batch stands still. Ask while it runs; `spanloom show` tells what was open"
)
DIED: Final = f"its process died {UNWRITTEN}"
GIVEN_UP: Final = f"Ctrl-C or another signal ended it {UNWRITTEN}"


class _Answer(NamedTuple):
    """What was found, and what it means if that is nothing."""

    findings: list[dict[str, Any]]
    nothing: str = NOTHING


@click.command(
    epilog=example("spanloom why 4711", "spanloom why 4711 --evidence", "spanloom why last --json")
)
@run_argument()
@click.option("--evidence", is_flag=True, help="Say what each verdict rests on, too.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Wait this long for the answer of a process.",
)
@file_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs: a list; times are seconds.")
def why(run: str, evidence: bool, timeout_s: float, path: Path | None, as_json: bool) -> None:
    """Say why a process or a recorded run is stuck or slow.

    RUN is the id of a process that runs under `spanloom run`. It is asked directly, and answers even while its event
    loop is blocked. Or RUN names a recorded run: by the id of its process (for a day, from any folder), the start of
    its own id, "last", or a file. For a run that is over, the answer is what was found while it ran, and where its time
    went. Causes come before their symptoms; a healthy process has no findings.
    """
    found, nothing = _found(run, timeout_s, path)
    if as_json:
        print_json(found)
    else:
        print_text(_wrapped(_lines(found, evidence=evidence) if found else [nothing]))


def _found(ref: str, timeout_s: float, path: Path | None) -> _Answer:
    if ref.isdecimal() and path is None:
        try:
            return _Answer(_of_process(int(ref), timeout_s))
        except NotWatchedError as error:
            try:
                return _of_run(ref, None, path, error)
            except StoreError:
                raise error from None
    return _of_run(ref, timeout_s, path)


def _of_process(pid: int, timeout_s: float) -> list[dict[str, Any]]:
    from spanloom.diagnosis.watch.asking import why_process

    def say(asked: int) -> None:
        click.echo(
            f"no answer from process {asked} for a second: it is computing, or something in it holds the GIL; waiting",
            err=True,
        )

    return why_process(pid, timeout_s=timeout_s, on_silence=say)


def _of_run(
    ref: str, timeout_s: float | None, path: Path | None, failed: NotWatchedError | None = None
) -> _Answer:
    """Return what the process of a run says, if it is still running; otherwise what the record says.

    Args:
        ref: Names the run.
        timeout_s: Seconds to wait for the process; ``None`` if it has been asked already.
        path: The file of the record, if one was given.
        failed: How that earlier question failed.

    Raises:
        NotWatchedError: the process is alive but does not answer, and the record has no findings either. That nothing
            was written down does not mean that nothing is wrong.
    """
    from spanloom.diagnosis.recorded import explain
    from spanloom.diagnosis.watch.client import SilentError
    from spanloom.store.model import RunState
    from spanloom.store.reader import StoreReader

    file, ref = place_of(ref, path)
    with StoreReader(file) as store:
        run = find_run(store, ref)
        if run.state == RunState.RUNNING and timeout_s is not None:
            try:
                return _Answer(_of_process(run.pid, timeout_s))
            except NotWatchedError as error:  # it is of another machine, or only recorded
                failed = error
        found = explain(store, run)
        if not found and isinstance(failed, SilentError):
            raise failed
        return _Answer(found, _nothing(run))


def _nothing(run: Run) -> str:
    """Return what it means that nothing is written down of a run."""
    from spanloom.diagnosis.recorded import was_given_up
    from spanloom.store.model import RunState

    if run.state == RunState.INTERRUPTED:
        return DIED
    if was_given_up(run):
        return GIVEN_UP
    return NOTHING if run.state == RunState.RUNNING else CAME_THROUGH


def _wrapped(lines: Iterable[str]) -> Iterator[str]:
    """Yield `lines`, broken between words where they are read on a terminal; elsewhere each is one, for `grep`."""
    if not is_terminal():
        yield from lines
        return
    width = max(40, console().width)
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        yield from wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _lines(found: list[dict[str, Any]], *, evidence: bool) -> Iterator[str]:
    for finding in found:
        yield f"{finding['code']} ({finding['level']}): {printable(finding['message'], 2_000)}"
        if finding.get("location"):
            yield f"  at {printable(finding['location'])}"
        if evidence:
            for line in finding.get("evidence") or ():
                yield f"    {printable(line, 1_000)}"
