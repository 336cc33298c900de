"""The arguments that commands share: which run, out of which file, and in which form.

A run is named by the start of its id, by ``last``, or by its file: see `spanloom.store`'s ``locate``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from spanloom.exceptions import StoreError
from spanloom.handlers._text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from spanloom.store.model import Run
    from spanloom.store.reader import StoreReader

__all__ = ["example", "file_option", "json_option", "opened", "run_argument"]

F = TypeVar("F", bound=Callable[..., Any])

COMPLETED_RUNS: Final = 50

json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs; times are in nanoseconds."
)

file_option: Callable[[F], F] = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="The file of the record.  [default: $SPANLOOM_RECORD, else .spanloom/runs.db]",
)


def run_argument(name: str = "run") -> Callable[[F], F]:
    """Return the argument that names a run; the last one if it is left out.

    Args:
        name: Of the command's parameter; in capitals, what the help calls it.
    """
    return click.argument(name, metavar=f"[{name.upper()}]", default="last", shell_complete=_complete)


@contextmanager
def opened(ref: str, path: Path | None) -> Iterator[tuple[StoreReader, Run]]:
    """Open the record that `ref` and ``--file`` name, and find the run in it.

    Raises:
        StoreError: there is no such file or run, or it cannot be read.
    """
    from spanloom.store.locate import locate
    from spanloom.store.reader import StoreReader

    file, ref = locate(ref, path)
    with StoreReader(file) as store:
        yield store, store.find(ref)


def example(*lines: str) -> str:
    """Return the text that ends a command's help: what to type, line by line."""
    # \b keeps click from re-wrapping the paragraph.
    return "\b\n" + "\n".join(
        ("Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines))
    )


def _complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ids of the last runs, ``last``, and, by the shell itself, files."""
    from click.shell_completion import CompletionItem

    if "/" in incomplete or incomplete.endswith(".db"):
        return [CompletionItem(incomplete, type="file")]
    found = [CompletionItem("last", help="the run that started last")]
    try:
        found += _runs(ctx.params.get("path"))
    except (StoreError, OSError):
        pass  # a shell that completes a word is no place for an error; the command itself will say it
    found = [item for item in found if str(item.value).startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def _runs(path: Path | None) -> Iterator[CompletionItem]:
    from click.shell_completion import CompletionItem

    from spanloom.store.locate import locate
    from spanloom.store.reader import StoreReader
    from spanloom.viewer._ids import short_ids

    with StoreReader(locate("last", path)[0]) as store:
        runs = store.runs(limit=COMPLETED_RUNS)
    short = short_ids(run.run_id for run in runs)
    for run in runs:
        yield CompletionItem(short[run.run_id], help=f"{printable(run.name, 40)}, {run.state}")
