"""Whose code a file holds."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import spanloom
from spanloom.diagnosis import origin


def test_the_folders_of_the_standard_library_are_those_that_python_says() -> None:
    """They are put together without `sysconfig`, which says the same."""
    paths = sysconfig.get_paths()
    assert set(origin._standard()) == {
        os.path.realpath(paths[key]) + os.sep for key in ("stdlib", "platstdlib")
    }


@pytest.mark.parametrize(
    ("file", "is_standard", "is_ours", "is_own"),
    [
        (asyncio.__file__, True, False, False),
        ("<frozen importlib._bootstrap>", True, False, False),
        (spanloom.__file__, False, True, False),
        (pytest.__file__, False, False, False),
        (__file__, False, False, True),
        ("<stdin>", False, False, True),
    ],
)
def test_a_file_is_of_one_kind(file: str, is_standard: bool, is_ours: bool, is_own: bool) -> None:
    """What is of nobody else is the program's."""
    assert origin.is_standard(file) is is_standard
    assert origin.belongs_to_us(file) is is_ours
    assert origin.is_own(file) is is_own


def test_a_task_is_made_without_sysconfig(tmp_path: Path) -> None:
    """Where a task is made is noted on its loop, which would wait for the import."""
    (tmp_path / "program.py").write_text(
        "import asyncio, sys\n"
        "async def job(): return 'sysconfig' in sys.modules\n"
        "async def main(): return await asyncio.create_task(job())\n"
        "print(asyncio.run(main()))\n"
    )
    command = [sys.executable, "-m", "spanloom", "run", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
