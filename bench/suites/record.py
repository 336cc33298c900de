"""The record: what writing every event to a file adds to a batch, and how large the file becomes."""

import asyncio
import gc
import random
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from bench import ours
from bench.figure import Figure, figure
from bench.plan import Plan

SUITE = "record"
LIMIT = 64
MANY = 10_000
"""Jobs at once where each takes long: they are written as open first."""
FLUSH_TIMEOUT_S = 60.0


async def _sleep0(_: int) -> None:
    await asyncio.sleep(0)


async def _some_fail(index: int) -> None:
    await asyncio.sleep(0)
    if index % 10 == 0:
        raise ValueError(f"number {index % 1000}")


async def _long(_: int) -> None:
    await asyncio.sleep(0.3)


_chance = random.Random(1)
_TIMES_S = [min(5.0, _chance.expovariate(1 / 0.2)) for _ in range(1 << 14)]


async def _random(index: int) -> None:
    await asyncio.sleep(_TIMES_S[index % len(_TIMES_S)])


Job = Callable[[int], Coroutine[object, object, None]]
Load = tuple[Job, int, str]
LOADS: dict[str, Load] = {
    "sleep0": (_sleep0, LIMIT, "task"),
    "sleep0, context": (_sleep0, LIMIT, "context"),
    "1 in 10 fails": (_some_fail, LIMIT, "task"),
    "0.3 s each": (_long, MANY, "task"),
    "0.2 s on average, at random": (_random, MANY, "task"),
}
"""By column: the job, how many at once, whether it takes a task of its own."""


def _run(count: int, load: Load, path: Path | None) -> float:
    """Return the CPU time of the process for one batch, until everything is in the file, in seconds."""
    from spanloom import CallbackManager, async_map, use_callback_manager
    from spanloom.handlers.record import RecordHandler

    job, limit, isolation = load

    async def main() -> float:
        manager = CallbackManager([] if path is None else [RecordHandler(path, keep=None)])
        with use_callback_manager(manager):
            started = time.process_time()
            await async_map(job, range(count), limit=limit, on_error="skip", isolation=isolation)
            await manager.aclose(FLUSH_TIMEOUT_S)
            return time.process_time() - started

    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        return asyncio.run(main())
    finally:
        gc.enable()
        gc.unfreeze()


def _check(path: Path, count: int) -> None:
    """Refuse a run of which something is missing: an event that is lost costs nothing."""
    from spanloom.store import StoreReader

    with StoreReader(path) as store:
        run = store.find("last")
        found = store.summary(run)
    if (found.jobs, found.open, run.dropped) != (count, 0, 0):
        raise RuntimeError(f"{count} jobs were run and the record has {found}, {run.dropped} dropped")


def measure(plan: Plan) -> list[Figure]:
    """Time each load with and without the handler, in turns; the figure is the difference, in microseconds a job."""
    if not ours.installed():
        return []
    count = plan.stream_counts[0]
    group = f"n = {count:,}, limit {LIMIT}; {MANY:,} where a job takes time; garbage collector frozen"
    figures = []
    for column, load in LOADS.items():
        added_us, bytes_a_job = [], []
        for number in range(plan.rounds + 1):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "runs.db"
                before = _run(count, load, None)
                with_record = _run(count, load, path)
                after = _run(count, load, None)
                _check(path, count)
                if number:  # the first one warms up
                    added_us.append((with_record - (before + after) / 2) / count * 1e6)
                    bytes_a_job.append(path.stat().st_size / count)
        figures.append(figure(SUITE, group, "spanloom + RecordHandler", column, "us", added_us, judged=True))
        figures.append(figure(SUITE, group, "the file", column, "B", bytes_a_job, judged=True))
    return figures
