"""Processes that record and are killed, or that may not write: what they do, and how to start many of them fast.

They are forked by a server that has everything imported (`multiprocessing`'s ``forkserver``): real processes, with a
real SIGKILL, a hundredth of a second each instead of half a second.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import struct
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import spanloom
from spanloom.handlers.record import RecordHandler

__all__ = ["Killed", "Report", "call_in_child", "record_until_killed", "run_jobs_recorded"]

_context = get_context("forkserver")
_context.set_forkserver_preload(["tests.store.children"])
_FRAME = struct.Struct("<qqq")
LONG = -1
"""Stands for the start of the job that never ends, in place of an index."""
PULSE = -2
"""Stands there for a thread that only wakes up every `PULSE_S`: as late as that, any other thread may be."""
PULSE_S = 0.05


class Report(NamedTuple):
    """What the child said of a job when it was over."""

    index: int
    failed: bool
    monotonic_ns: int


class Killed(NamedTuple):
    """A child that was killed: what it had reported, and when it was killed, on the same clock."""

    reports: list[Report]
    long_since_ns: int | None
    killed_ns: int
    late_ns: int
    """How late a thread of it was at most that had nothing to do: what the machine, and not the recorder, owes."""


def _work_for_ever(path: str, durability: str, seed: int, pipe: Connection) -> None:
    rng = random.Random(seed)
    out = pipe.fileno()

    async def work(index: int) -> int:
        await asyncio.sleep(rng.choice((0, 0, 0.001, 0.004, 0.02)))
        if index % 7 == 3:
            raise ValueError(f"job {index} fails")
        return index

    async def long() -> None:
        os.write(out, _FRAME.pack(LONG, 0, time.monotonic_ns()))
        await asyncio.sleep(3600)

    async def main() -> None:
        waiting = asyncio.ensure_future(spanloom.run_jobs([long()], desc="long"))
        async with spanloom.stream(work, itertools.count(), limit=4, on_error="return") as outcomes:
            async for outcome in outcomes:
                os.write(out, _FRAME.pack(outcome.index, outcome.error is not None, time.monotonic_ns()))
        await waiting

    def pulse() -> None:
        while True:
            os.write(out, _FRAME.pack(PULSE, 0, time.monotonic_ns()))
            time.sleep(PULSE_S)

    threading.Thread(target=pulse, daemon=True).start()
    handler = RecordHandler(path, durability=durability)  # type: ignore[arg-type]  # one of the two
    with spanloom.use_callback_manager(spanloom.CallbackManager([handler])):
        asyncio.run(main())


def record_until_killed(path: Path, durability: str, seed: int, after_s: float) -> Killed:
    """Have a child record jobs to `path`, kill it `after_s` seconds after it began; return what it had told."""
    ours, theirs = _context.Pipe(duplex=False)
    child = _context.Process(target=_work_for_ever, args=(str(path), durability, seed, theirs), daemon=True)
    child.start()
    theirs.close()
    told = bytearray(os.read(ours.fileno(), 1 << 16))  # it has begun
    reader = threading.Thread(target=_read_all, args=(ours, told))
    reader.start()
    time.sleep(after_s)
    killed_ns = time.monotonic_ns()
    child.kill()
    child.join()
    reader.join()
    ours.close()
    frames = [
        Report(*frame) for frame in _FRAME.iter_unpack(bytes(told[: len(told) // _FRAME.size * _FRAME.size]))
    ]
    long_since = next((frame.monotonic_ns for frame in frames if frame.index == LONG), None)
    pulses = [*(frame.monotonic_ns for frame in frames if frame.index == PULSE), killed_ns]
    gaps_ns = [later - earlier for earlier, later in itertools.pairwise(pulses)]
    late_ns = max(gaps_ns, default=0) - int(PULSE_S * 1e9)
    return Killed([frame for frame in frames if frame.index >= 0], long_since, killed_ns, max(0, late_ns))


def _read_all(pipe: Connection, told: bytearray) -> None:
    while data := os.read(pipe.fileno(), 1 << 16):
        told += data


def call_in_child(function: Callable[..., Any], *arguments: object, timeout_s: float = 60.0) -> Any:
    """Return what `function` of `arguments` returns in a process of its own; raise if it raises or hangs there."""
    ours, theirs = _context.Pipe(duplex=False)
    child = _context.Process(target=_answer, args=(theirs, function, arguments), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(timeout_s):
            raise TimeoutError(f"{function.__name__} took more than {timeout_s} s")
        answer, failure = ours.recv()
    finally:
        child.kill()
        child.join()
        ours.close()
    if failure is not None:
        raise AssertionError(failure)
    return answer


def _answer(pipe: Connection, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    try:
        pipe.send((function(*arguments), None))
    except BaseException:
        pipe.send((None, traceback.format_exc()))


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class Recorded(NamedTuple):
    """How a recorded run went: its results, what was said, what was lost and what the manager counted."""

    results: list[int]
    warnings: list[str]
    lost: int
    run_id: str
    flushed: bool


def run_jobs_recorded(
    path: Path, jobs: int, between: Callable[[int], object] = int, rounds: int = 1
) -> Recorded:
    """Run `rounds` times so many jobs with a recorder at `path`; `between` is called with the number of each round."""
    warnings = _Warnings()
    logger = logging.getLogger("spanloom")
    logger.addHandler(warnings)

    async def work(index: int) -> int:
        await asyncio.sleep(0)
        return index * 2

    async def main() -> list[int]:
        results: list[int] = []
        for number in range(rounds):
            results += await spanloom.async_map(work, range(jobs), limit=16)
            manager.flush(5.0)
            between(number)
        return results

    handler = RecordHandler(path)
    manager = spanloom.CallbackManager([handler])
    try:
        with spanloom.use_callback_manager(manager):
            results = asyncio.run(main())
        flushed = manager.flush(5.0)
        manager.close()
    finally:
        logger.removeHandler(warnings)
    return Recorded(results, warnings.messages, handler.lost, handler.run_id, flushed)
