"""Disks that are full and places that may not be written: the run goes on, the loss is counted, and said once."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanloom.exceptions import StoreError, StoreNotFoundError
from spanloom.store import StoreReader
from tests.store.children import Recorded, call_in_child, run_jobs_recorded

NOBODY = 65534
JOBS = 20_000
MORE_THAN_FITS = 10 * JOBS
"""Of some 70 bytes each: nearly twice what the small disk holds, without the log."""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Return a directory that everyone may look into; those of pytest are its user's alone."""
    path = Path(tempfile.mkdtemp(prefix="spanloom-test-"))
    path.chmod(0o755)
    yield path
    for directory in (path, *(found for found in path.rglob("*") if found.is_dir())):
        directory.chmod(0o755)
    shutil.rmtree(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of its own, of 3 megabytes; only root may make one."""
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(
            f"needs the right to mount: {made.stderr.strip()}; a limit on the size of files is tested below"
        )
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def _as_expected(ran: Recorded, jobs: int, rounds: int = 1) -> None:
    assert ran.results == [index * 2 for index in range(jobs)] * rounds
    assert len(ran.warnings) == 1, ran.warnings


def test_a_full_disk_harms_nobody_and_is_recorded_to_again_when_there_is_room(small_disk: Path) -> None:
    """A real full disk: the jobs run as ever, the loss is counted and said once, and it goes on when there is room."""
    path = small_disk / "runs.db"
    ballast = small_disk / "ballast"

    def between(number: int) -> None:
        if number == 0:
            fill(ballast)
        elif number == 1:
            ballast.unlink()
            time.sleep(1.2)  # until it tries again

    ran = run_jobs_recorded(path, 4_000, between, rounds=3)
    _as_expected(ran, 4_000, 3)
    assert "runs.db" in ran.warnings[0]
    with StoreReader(path) as store:
        run = store.find(ran.run_id)
        found = sum(record.type == "job" for record in store.records(run))
        assert run.dropped == ran.lost
        assert found + ran.lost >= 12_000  # batches and their like may be among the lost
        assert found >= 4_000


def test_a_disk_that_stays_full_harms_nobody(small_disk: Path) -> None:
    """What was recorded before the disk was full can be read; what came after is counted."""
    path = small_disk / "runs.db"
    ran = run_jobs_recorded(path, MORE_THAN_FITS)
    _as_expected(ran, MORE_THAN_FITS)
    assert ran.lost > 0
    assert not ran.flushed
    with StoreReader(path) as store:
        run = store.find(ran.run_id)
        found = sum(record.type == "job" for record in store.records(run))
        assert 0 < found < MORE_THAN_FITS
        assert found + ran.lost >= MORE_THAN_FITS


def fill(path: Path) -> None:
    """Leave no room on a disk."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def _limited(path: Path, size: int, jobs: int) -> Recorded:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return run_jobs_recorded(path, jobs)


def test_a_file_that_may_not_grow_harms_nobody(tmp_path: Path) -> None:
    """A limit on the size of files (``ulimit -f``) is a disk that is full, and needs no right to test."""
    path = tmp_path / "runs.db"
    ran = call_in_child(_limited, path, 600_000, 2 * JOBS)
    _as_expected(ran, 2 * JOBS)
    assert ran.lost > 0
    with StoreReader(path) as store:
        run = store.find(ran.run_id)
        found = sum(record.type == "job" for record in store.records(run))
        assert 0 < found < 2 * JOBS
        assert found + ran.lost >= 2 * JOBS


def _as_nobody(path: Path, jobs: int) -> Recorded:
    _become_nobody()
    return run_jobs_recorded(path, jobs)


def _become_nobody() -> None:
    if os.geteuid() == 0:  # root may write anywhere; anybody else is nobody enough
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@pytest.mark.parametrize("what", ["directory", "parent", "file", "log"])
def test_a_place_that_may_not_be_written_harms_nobody(what: str, open_to_all: Path) -> None:
    """A directory, a file or a log of somebody else's: the jobs run as ever, all is lost, and it is said once."""
    directory = open_to_all / "there"
    directory.mkdir()
    path = directory / "runs.db"
    if what == "parent":
        path = directory / "deeper" / "runs.db"
    elif what == "file":
        run_jobs_recorded(path, 10)
        path.chmod(0o444)
        directory.chmod(0o777)
    elif what == "log":
        run_jobs_recorded(path, 10)
        path.chmod(0o666)
    if what != "file":
        directory.chmod(0o555)
    before = path.read_bytes() if path.exists() else None
    ran = call_in_child(_as_nobody, path, 500)
    _as_expected(ran, 500)
    assert str(path) in ran.warnings[0]
    assert ran.lost >= 500 or not ran.flushed
    assert (path.read_bytes() if path.exists() else None) == before


def _read_as_nobody(path: Path) -> str:
    _become_nobody()
    try:
        StoreReader(path).close()
    except StoreError as error:
        return f"{type(error).__name__}: {error}"
    return "it could be read"


def test_a_reader_says_that_it_may_not_read(open_to_all: Path) -> None:
    """Who may not read a file, or not look into its directory, is told so, with its path."""
    path = open_to_all / "there" / "runs.db"
    run_jobs_recorded(path, 10)
    assert call_in_child(_read_as_nobody, path).startswith(
        f"StoreError: {path} cannot be read: Permission denied"
    )
    path.chmod(0o644)
    path.parent.chmod(0o700)
    assert call_in_child(_read_as_nobody, path) == f"StoreError: {path} cannot be read: Permission denied"


@pytest.mark.parametrize("how", ["removed", "moved", "replaced", "truncated", "overwritten"])
def test_a_file_that_goes_while_it_is_written_harms_nobody(  # noqa: C901 -- five stories told at once
    how: str, tmp_path: Path
) -> None:
    """Whatever somebody does to the file in the middle of a run, the jobs run as ever, and it is said once."""
    path = tmp_path / "runs.db"

    def between(number: int) -> None:
        if number != 0:
            return
        if how == "moved":
            path.rename(tmp_path / "moved.db")
        elif how == "truncated":
            os.truncate(path, 4_096)
            os.truncate(tmp_path / "runs.db-wal", 0)
        elif how == "overwritten":
            path.write_bytes(os.urandom(200_000))
        else:
            for name in ("runs.db", "runs.db-wal", "runs.db-shm"):
                (tmp_path / name).unlink(missing_ok=True)
            if how == "replaced":
                path.write_bytes(b"not a database at all" * 100)

    ran = run_jobs_recorded(path, 1_000, between, rounds=3)
    assert ran.results == [index * 2 for index in range(1_000)] * 3
    assert len(ran.warnings) <= 1, ran.warnings
    if how in ("removed", "moved"):
        assert ran.lost >= 1_000
        with StoreReader(path) as store:
            run = store.find(ran.run_id)
            assert run.dropped == ran.lost
            found = sum(record.type == "job" for record in store.records(run))
            assert found >= 1_000
            assert found + ran.lost >= 3_000
    elif how == "replaced":
        assert ran.lost >= 3_000
        assert path.read_bytes() == b"not a database at all" * 100
    try:
        with StoreReader(path) as store:
            for run in store.runs():
                list(store.records(run))
                store.summary(run)
    except StoreError as error:
        complaint = str(error)
    else:
        complaint = "" if how == "replaced" else f"none about {path}"
    assert str(path) in complaint


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A reader of a record that was removed says which there is none."""
    with pytest.raises(StoreNotFoundError, match="there is no record at"):
        StoreReader(tmp_path / "runs.db")
