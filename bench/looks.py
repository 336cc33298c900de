"""Looks at a program of many tasks: how long they take, and for how long they hold the loop. Prints one JSON object.

Usage: python -m bench.looks PROGRAM HOW TASKS LOOKS

PROGRAM is a key of `PROGRAMS`. HOW is `why`, in a thread of the program; or `asked`, from outside, which the watching
thread answers.

A hold is the CPU time that the thread which looks has between two turns of the loop, which wants one each millisecond:
so long nobody else had the interpreter. Wall time would count what other processes take of the cores as well; so the
time in which the loop's thread has the interpreter and waits for a core is left out, too.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from spanloom import run_jobs, why
from spanloom.diagnosis.watch.client import ask
from spanloom.diagnosis.watch.process import watch

TURN_S = 0.001
FOR_EVER_S = 3_600.0
SETTLE_S = 1.0
BETWEEN_S = 0.2


async def _sleeps() -> None:
    await asyncio.sleep(FOR_EVER_S)


async def sleeping(count: int) -> None:
    """A TaskGroup of tasks that sleep."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_sleeps())


async def queueing(count: int) -> None:
    """Workers between two queues, who have nothing to do for now."""
    source: asyncio.Queue[int] = asyncio.Queue()
    target: asyncio.Queue[int] = asyncio.Queue()

    async def work() -> None:
        while True:
            await target.put(await source.get())

    async def feed() -> None:
        await asyncio.sleep(FOR_EVER_S)
        await source.put(0)

    await asyncio.gather(feed(), *(work() for _ in range(count)))


async def replying(count: int) -> None:
    """Requests, each of which awaits a future of its own with a timeout."""
    waiting: dict[int, asyncio.Future[None]] = {}

    async def request(number: int) -> None:
        waiting[number] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(FOR_EVER_S):
            await waiting[number]

    await asyncio.gather(*(request(number) for number in range(count)))


async def running(count: int) -> None:
    """A batch of ours, all of whose jobs run."""
    await run_jobs([_sleeps() for _ in range(count)], workers=count)


Program = Callable[[int], Coroutine[Any, Any, None]]
PROGRAMS: dict[str, Program] = {one.__name__: one for one in (sleeping, queueing, replying, running)}


class _Looker:
    """A thread that has looks taken, one after the other, and the clock of the thread that takes them."""

    def __init__(self, how: str, looks: int) -> None:
        self.clock: int | None = None
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self._looks = looks
        self._watcher = watch(stall_after=None) if how == "asked" else None
        self.thread = threading.Thread(target=self._run, name="looks")
        self.thread.start()

    def _run(self) -> None:
        ident = threading.get_ident() if self._watcher is None else self._watcher.ident
        if ident is None:
            raise RuntimeError("nobody watches")
        self.clock = time.pthread_getcpuclockid(ident)
        for _ in range(self._looks):
            time.sleep(BETWEEN_S)
            began_ns, cpu_ns = time.perf_counter_ns(), time.clock_gettime_ns(self.clock)
            if self._watcher is None:
                why()
            else:
                ask(os.getpid(), "why", timeout_s=60)
            self.wall_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
            self.cpu_ms.append((time.clock_gettime_ns(self.clock) - cpu_ns) / 1e6)
        self.clock = None  # before the thread ends, and its clock with it


async def measure(program: Program, how: str, tasks: int, looks: int) -> dict[str, list[float]]:
    """Return the milliseconds of each look, and the longest hold of all."""
    body = asyncio.create_task(program(tasks))
    await asyncio.sleep(SETTLE_S)
    looker = _Looker(how, looks)
    schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    longest_ns = 0
    last: tuple[int, int] | None = None
    while looker.thread.is_alive():
        await asyncio.sleep(TURN_S)
        clock = looker.clock
        # the kernel's Documentation/scheduler/sched-stats: the second is nanoseconds ready to run without a core
        now = None if clock is None else (time.clock_gettime_ns(clock), int(schedule.read_bytes().split()[1]))
        if now is not None and last is not None:
            longest_ns = max(longest_ns, now[0] - last[0] - (now[1] - last[1]))
        last = now
    body.cancel()
    return {"wall": looker.wall_ms, "cpu": looker.cpu_ms, "hold": [longest_ns / 1e6]}


def main(program: str, how: str, tasks: str, looks: str) -> None:
    """Measure one program, and print what was found."""
    print(json.dumps(asyncio.run(measure(PROGRAMS[program], how, int(tasks), int(looks)))), flush=True)
    os._exit(0)  # what sleeps for an hour need not be cancelled one by one


if __name__ == "__main__":
    main(*sys.argv[1:])
