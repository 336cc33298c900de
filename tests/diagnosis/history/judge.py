"""Runs programs, each in a process of its own, with a memory beside it, and asks that after four seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

AT_ONCE = 8
_BESIDE = """
import json, os, sys, threading, time
from spanloom.cli._script import script
from spanloom.diagnosis.codes import in_order
from spanloom.diagnosis.history import Memory

answer = int(sys.argv[2])
memory = Memory()
memory.start()


def watch():
    began = time.monotonic()
    while time.monotonic() - began < 4.0:
        time.sleep(0.1)
        memory.step()
    found = [finding.to_json() for finding in in_order(memory.findings())]
    os.write(answer, json.dumps(found).encode())
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()
script(sys.argv[1], [])()
time.sleep(10)
"""


def judge(paths: Iterable[Path]) -> dict[Path, list[dict[str, Any]]]:
    """Return what is found in each program."""
    paths = list(paths)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(paths, pool.map(_judge, paths), strict=True))


def _judge(path: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryFile() as answer:
        number = answer.fileno()
        done = subprocess.run(
            [sys.executable, "-c", _BESIDE, str(path), str(number)],
            pass_fds=[number],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"SPANLOOM_HANDLERS": ""},
            timeout=60,
            check=False,
        )
        answer.seek(0)
        text = answer.read()
        assert text, f"{path.name}: {done.stderr.decode()[-2_000:]}"
        found: list[dict[str, Any]] = json.loads(text)
        return found
