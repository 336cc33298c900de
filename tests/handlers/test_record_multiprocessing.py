"""The children of `multiprocessing`, which leave by `os._exit`, end their runs all the same."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from spanloom.store.reader import StoreReader

SCRIPT = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from spanloom import CallbackManager
from spanloom.handlers.record import RecordHandler

manager = CallbackManager([RecordHandler(sys.argv[1])])

def work(number):
    with manager.event(name="child"):
        pass
    return number

if __name__ == "__main__":
    manager.emit(name="parent")
    context = multiprocessing.get_context(sys.argv[2])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(work, range(10))) == list(range(10))
    process = context.Process(target=work, args=(1,))
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_children_of_multiprocessing_record_all_their_events(tmp_path: Path, method: str) -> None:
    """Events of workers of a pool and of a process are in the file, each in a run that is complete."""
    script, file = tmp_path / "script.py", tmp_path / "runs.db"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", str(script), str(file), method],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with StoreReader(file) as store:
        runs = store.runs()
        names = sorted(record.name for run in runs for record in store.records(run))
        states = {str(run.state) for run in runs}
    assert names == ["child"] * 11 + ["parent"]
    assert len(runs) in (3, 4)  # one of the two workers may have had nothing to do
    assert states == {"ended"}
