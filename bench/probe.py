"""The probe: one contender, one load, in an interpreter of its own. Prints one number.

Usage: python -m bench.probe MODE CONTENDER JOB COUNT LIMIT [list]

MODE is `traced` or `resident` (peak bytes, as seen by tracemalloc or by the kernel), `count` (runs between
two calls that a profiler can see, prints nothing) or `hold` (milliseconds). CONTENDER is `module:NAME`.
With `list` the jobs are a list of coroutines, without they are made as they are asked for.
"""

import asyncio
import contextvars
import gc
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from pkgutil import resolve_name

from bench.contender import Contender
from bench.load import JOBS, WARM_UP_JOBS, Load


class Probe:
    """A contender on a loop of its own, warmed up."""

    def __init__(self, contender: Contender, load: Load, runner: asyncio.Runner) -> None:
        self._contender = contender
        self._load = load
        self._runner = runner

    def warm_up(self) -> None:
        """Run a few jobs, so that imports, caches and specialised bytecode are there."""
        load = self._load
        self._run(Load(load.job, WARM_UP_JOBS, load.limit, as_list=load.as_list))

    def run(self) -> None:
        """Run the load once."""
        self._run(self._load)

    def watch(self) -> float:
        """Run the load once, and return the longest turn of the loop in milliseconds (see `Turns`)."""
        return self._run(self._load, watched=True)

    def _run(self, load: Load, *, watched: bool = False) -> float:
        async def main() -> float:
            turns = Turns()
            if watched:
                turns.begin()
                await asyncio.sleep(0)
            await session.run(load)
            longest_ms = turns.end()
            session.settle()
            return longest_ms

        with self._contender.open() as session:
            return self._runner.run(main(), context=contextvars.copy_context())


class Turns:
    """Watch the loop: how long each of its turns holds the thread.

    CPU time of the thread, not wall time: what other processes take is not the runner's doing.
    """

    def __init__(self) -> None:
        self._longest_ns = 0
        self._last_ns = 0
        self._watching = False

    def begin(self) -> None:
        """Look at the clock now and in every turn to come."""
        self._watching = True
        self._last_ns = time.thread_time_ns()
        asyncio.get_running_loop().call_soon(self._turn)

    def end(self) -> float:
        """Stop, and return the longest turn in milliseconds."""
        self._longest_ns = max(self._longest_ns, time.thread_time_ns() - self._last_ns)
        self._watching = False
        return self._longest_ns / 1e6

    def _turn(self) -> None:
        now_ns = time.thread_time_ns()
        self._longest_ns = max(self._longest_ns, now_ns - self._last_ns)
        self._last_ns = now_ns
        if self._watching:
            asyncio.get_running_loop().call_soon(self._turn)


def _resident_peak() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        # not ru_maxrss: on Linux that starts at the peak of the process this one was forked from
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident(probe: Probe) -> int:
    """Return the peak of resident memory in bytes."""
    probe.warm_up()
    probe.run()
    return _resident_peak()


def traced(probe: Probe) -> int:
    """Return the peak of allocated memory in bytes; slow."""
    probe.warm_up()
    tracemalloc.start()
    probe.run()
    return tracemalloc.get_traced_memory()[1]


def hold(probe: Probe) -> float:
    """Return the longest turn of the loop in milliseconds."""
    probe.warm_up()
    gc.collect()
    gc.freeze()
    gc.disable()
    return probe.watch()


def count(probe: Probe) -> str:
    """Run the load inside one call of `functools.reduce`, and return nothing to print.

    That is a C function that nothing else calls here: a profiler that counts only within it counts
    neither the interpreter's start nor its end.
    """
    probe.warm_up()
    gc.collect()
    gc.freeze()
    gc.disable()
    reduce(lambda _, run: run(), [probe.run], None)
    return ""


MODES: dict[str, Callable[[Probe], object]] = {
    "resident": resident,
    "traced": traced,
    "hold": hold,
    "count": count,
}


def main(mode: str, contender: str, job: str, jobs: str, limit: str, *flags: str) -> None:
    """Probe one contender and print what was found."""
    load = Load(JOBS[job], int(jobs), int(limit), as_list="list" in flags)
    with asyncio.Runner() as runner:
        print(MODES[mode](Probe(resolve_name(contender), load, runner)))


if __name__ == "__main__":
    main(*sys.argv[1:])
