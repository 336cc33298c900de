"""Programs under ``spanloom run``, and what they answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from spanloom.diagnosis.watch.asking import why_process
from spanloom.exceptions import NotWatchedError

PROGRAMS = Path(__file__).parent / "programs"
HERE = "# here"
ANSWER_S = 20.0
"""For how long an answer may be waited for."""


class Program(NamedTuple):
    """A program with what is expected of it in its first lines.

    Attributes:
        path: The file.
        code: The expected code, ``OK`` if there must be none.
        names: Words of which one each must be in the message.
        lines: The lines of which one must be the location.
    """

    path: Path
    code: str
    names: tuple[str, ...]
    lines: frozenset[int]


def program(path: Path) -> Program:
    """Read what a program expects."""
    text = path.read_text(encoding="utf-8")
    said = dict(re.findall(r"^# (expect|names): (.*)$", text, re.MULTILINE))
    names = tuple(name.strip() for name in said["names"].split(",") if name.strip() != "-")
    lines = (number for number, line in enumerate(text.splitlines(), 1) if HERE in line)
    return Program(path, said["expect"], names, frozenset(lines))


@contextmanager
def run(path: Path, folder: Path, *options: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program under ``spanloom run`` while the block lasts; its own output goes to files in `folder`."""
    folder.mkdir(exist_ok=True)
    record = {"SPANLOOM_RECORD": str(folder / f"{path.stem}.db")}
    with (folder / f"{path.stem}.out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "spanloom", "run", *options, str(path)],
            cwd=folder,
            env=os.environ | record | variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # its children end with it
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # it has ended, with all its children
                os.killpg(process.pid, 9)
            process.wait()


def findings_of(pid: int, *, within_s: float = 20.0) -> list[dict[str, Any]]:
    """Ask until there is a finding, or return none after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            found = why_process(pid, timeout_s=ANSWER_S)
        except NotWatchedError:
            if time.monotonic() > deadline:
                raise
            found = []
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
