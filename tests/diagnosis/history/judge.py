"""Runs programs, each in a process of its own, with a memory beside it, and asks that.

A healthy one after four seconds; a sick one again and again from when it may be told, as that takes longer on a busy
machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

AT_ONCE = 16
_BESIDE = """
import json, os, sys, threading, time
from spanloom.cli._script import script
from spanloom.diagnosis.codes import in_order
from spanloom.diagnosis.history import Memory

answer, expected = int(sys.argv[2]), sys.argv[3]
memory = Memory()
memory.start()


def findings():
    return [finding.to_json() for finding in in_order(memory.findings())]


def watch():
    began = time.monotonic()
    ask_s = 4.0 if expected == "OK" else 2.0
    while True:
        time.sleep(0.1)
        memory.step()
        age_s = time.monotonic() - began
        if age_s < ask_s:
            continue
        found = findings()
        if expected == "OK" or age_s > 20.0 or (found and found[0]["code"] == expected):
            break
        ask_s = age_s + 0.5
    os.write(answer, json.dumps(found).encode())
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()
script(sys.argv[1], [])()
time.sleep(10)
"""


def judge(expected: Mapping[Path, str]) -> dict[Path, list[dict[str, Any]]]:
    """Return what is found in each program, given the code that it has, or ``OK``."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(expected, pool.map(_judge, expected, expected.values()), strict=True))


def _judge(path: Path, code: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryFile() as answer:
        number = answer.fileno()
        done = subprocess.run(
            [sys.executable, "-c", _BESIDE, str(path), str(number), code],
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
