"""Which run a RUN argument means that may also be the id of a process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spanloom.exceptions import RunNotFoundError
from spanloom.store.model import RunState

if TYPE_CHECKING:
    from spanloom.store.model import Run
    from spanloom.store.reader import StoreReader

__all__ = ["find_run", "place_of"]


def place_of(ref: str, path: Path | None) -> tuple[Path, str]:
    """Return the file that a user means by RUN, or by the id of a process, and the reference to the run in it.

    The id of a process is known in any folder: `spanloom run` leaves a note of where a process is recorded.

    Raises:
        RunNotFoundError: see `spanloom.store.locate.locate`.
    """
    from spanloom.store.locate import locate

    if ref.isdecimal() and path is None:
        from spanloom.diagnosis.watch.notes import note_of

        note = note_of(int(ref))
        if note is not None and note.path.is_file():
            return note.path, note.run_id
    return locate(ref, path)


def find_run(store: StoreReader, ref: str) -> Run:
    """Return the run that `ref` names.

    A number is taken for the id of a process before it is taken for the start of a run's id. Of several runs with one
    process id the running one is meant or, if none is running, the newest.

    Raises:
        RunNotFoundError: there is no such run.
    """
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
