"""A process that reads the file that it writes to: what it has written stays, whoever else comes and goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spanloom import CallbackManager
from spanloom.handlers.record import RecordHandler
from spanloom.store import StoreReader
from tests.store.files import read

ANOTHER = """
import sys
from tests.store.files import record
record(sys.argv[1], "theirs", name="another")
"""


def let_another_process_record(path: Path) -> None:
    subprocess.run([sys.executable, "-c", ANOTHER, str(path)], check=True, timeout=60)


@pytest.mark.parametrize("reads", [False, True])
def test_a_writer_that_reads_its_own_record_keeps_its_log(tmp_path: Path, reads: bool) -> None:
    """Another process that is done with the file leaves the log to a writer that has looked at its own record."""
    path = tmp_path / "runs.db"
    with CallbackManager([RecordHandler(path, name="ours")]) as manager:
        manager.emit(name="before")
        assert manager.flush()
        if reads:
            assert read(path)[0].name == "ours"
        let_another_process_record(path)
        log = path.with_name("runs.db-wal")
        assert log.exists()
        for _ in range(1_000):
            manager.emit(name="after")
        assert manager.flush()
    with StoreReader(path) as store:
        found = {run.name: [record.name for record in store.records(run)] for run in store.runs()}
        assert store.faults() == []
    assert found == {"ours": ["before", *["after"] * 1_000], "another": ["theirs"]}


CHECKPOINTED = """
import asyncio, os, signal, subprocess, sys
from pathlib import Path
from spanloom import Checkpoint, async_map
from spanloom.store import StoreReader
from tests.store.test_locks import let_another_process_record

path = Path(sys.argv[1])

async def work(item):
    if item == 10:
        with StoreReader(path):
            pass
    if item == 20:
        await asyncio.to_thread(let_another_process_record, path)
    if item == 100:
        os.kill(os.getpid(), signal.SIGKILL)
    return item

asyncio.run(async_map(work, range(1000), limit=1, checkpoint=Checkpoint(path, version="1")))
"""


def test_a_checkpoint_that_was_read_meanwhile_keeps_what_it_said_it_has(tmp_path: Path) -> None:
    """Each result that was stored before a SIGKILL is there after it, although the process has read the file."""
    import sqlite3
    from contextlib import closing

    path = tmp_path / "runs.db"
    done = subprocess.run([sys.executable, "-c", CHECKPOINTED, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM results").fetchone() == (100,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
