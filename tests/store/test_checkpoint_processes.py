"""One checkpoint and several processes, and faults of the file that need a process of their own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, sys
from spanloom import Checkpoint, async_map

async def job(number):
    print(number, flush=True)
    await asyncio.sleep(0.001)
    return [number, "x" * 100]

found = asyncio.run(async_map(job, range(500), limit=8, checkpoint=Checkpoint(sys.argv[1])))
assert found == [[number, "x" * 100] for number in range(500)]
"""


def start(program: str, file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_processes_share_a_checkpoint(tmp_path: Path) -> None:
    """Four processes at once with one new file: no error, every result there once, and the file is sound."""
    file = tmp_path / "results.db"
    programs = [start(PROGRAM, file) for _ in range(4)]
    ran = []
    for program in programs:
        out, err = program.communicate(timeout=100)
        assert (program.returncode, err) == (0, "")
        ran += out.split()
    assert len(set(ran)) == 500
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT count(*), count(DISTINCT digest) FROM results").fetchone() == (500, 500)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    last = start(PROGRAM, file)
    assert last.communicate(timeout=100) == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX's")
def test_a_full_disk_ends_the_batch_and_keeps_what_was_stored(tmp_path: Path) -> None:
    """When a file can grow no more, the batch fails with its path and SQLite's reason; a later run does the rest."""
    file = tmp_path / "results.db"
    full = """
        import asyncio, resource, signal, sys
        from spanloom import Checkpoint, CheckpointError, async_map

        async def job(number):
            print(number, flush=True)
            return [number, "x" * 100]

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            asyncio.run(async_map(job, range(500), limit=1, on_error="return", checkpoint=Checkpoint(sys.argv[1])))
        except CheckpointError as error:
            assert error.value == [int(error.value[0]), "x" * 100]
            print("error", error)
        """
    out, err = start(full, file).communicate(timeout=100)
    assert err == ""
    *first, error = out.splitlines()
    assert error.startswith(f"error the checkpoint {file} cannot be written: ")
    assert 10 < len(first) < 500
    rest = start(PROGRAM.replace("    await asyncio.sleep(0.001)\n", ""), file)
    out, err = rest.communicate(timeout=100)
    assert err == ""
    assert out.split() == [str(number) for number in range(len(first) - 1, 500)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX's")
def test_a_child_forked_while_a_batch_runs_can_write_to_its_file(run_python: Callable[[str], str]) -> None:
    """No connection goes into a child, whose SQLite would take the parent's locks for its own; the batch goes on."""
    out = run_python(
        """
        import asyncio, os, sqlite3, tempfile
        from pathlib import Path
        from spanloom import Checkpoint, async_map

        file = Path(tempfile.mkdtemp()) / "results.db"

        def write(name):
            own = sqlite3.connect(file, timeout=20, isolation_level=None)
            own.execute("CREATE TABLE " + name + " (x)")
            own.close()

        async def job(number):
            await asyncio.sleep(0.0005)
            return "x" * 3000

        async def main():
            batch = asyncio.create_task(async_map(job, iter(range(10**6)), limit=8, checkpoint=Checkpoint(file)))
            await asyncio.sleep(0.2)
            for child in range(20):
                pid = os.fork()
                if not pid:
                    try:
                        write(f"of_{child}")
                    except BaseException as error:
                        os.write(1, f"child {child}: {error!r}\\n".encode())
                    os._exit(0)
                await asyncio.to_thread(os.waitpid, pid, 0)
            assert not batch.done(), batch
            batch.cancel()
            try:
                await batch
            except asyncio.CancelledError:
                pass

        asyncio.run(main())
        own = sqlite3.connect(file)
        assert own.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'of_%'").fetchone() == (20,)
        assert own.execute("SELECT count(*) FROM results").fetchone() > (100,)
        print(*own.execute("PRAGMA integrity_check").fetchone())
        """
    )
    assert out == "ok\n"
