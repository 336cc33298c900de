"""Runs small programs, each in a forked process of its own, and prints what is found wrong with each of them.

``python zoo.py asyncio|uvloop PROGRAM...`` prints a JSON object per program: ``path``, ``stable`` (what two looks in a
row found last) and ``ever`` (what any two looks found).
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio.streams.memory  # noqa: F401 -- once for all children
import uvloop

import spanloom  # noqa: F401 -- once for all children
from spanloom.diagnosis.stuck import stuck

AT_ONCE = 12
LOOKS = 5
APART_S = 0.12
FIRST_S = 0.3


def judge(path: str, out: int) -> None:
    """Look a few times from a thread of its own, until the same is found twice, report, and end the process."""
    ever: list[Any] = []
    stable: list[Any] = []
    try:
        time.sleep(FIRST_S)
        for _ in range(LOOKS):
            stable = [finding.to_json() for finding in stuck(apart_s=APART_S)]
            ever += stable
            if stable and len(ever) > len(stable):
                break
            time.sleep(0 if stable else APART_S)
    except BaseException as error:
        import traceback

        stable = ever = [
            {"code": "CRASH", "message": traceback.format_exc(), "location": None, "error": repr(error)}
        ]
    os.write(out, json.dumps({"path": path, "stable": stable, "ever": ever}).encode() + b"\n")
    os._exit(0)


def child(path: str, factory: Callable[[], Any] | None, out: int) -> None:
    """Run the program in the main thread."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    judging = threading.Thread(target=judge, args=(path, out), name="judge", daemon=True)
    judging.start()
    main = runpy.run_path(path, run_name="program")["main"]
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
    finally:  # on a busy machine the program may have come to its end, or failed, before it is judged
        judging.join()  # ends the process


def main(kind: str, paths: list[str]) -> None:
    """Run all programs, some at once."""
    factory = uvloop.new_event_loop if kind == "uvloop" else None
    running: set[int] = set()
    for path in paths:
        while len(running) >= AT_ONCE:
            running.discard(os.wait()[0])
        pid = os.fork()
        if not pid:
            child(path, factory, os.dup(1))
        running.add(pid)
    while running:
        running.discard(os.wait()[0])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
