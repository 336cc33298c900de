"""spanloom's runners with no handler, the recorder on and off."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Literal

from bench.load import Load
from bench.ours.managed import default, unheard
from spanloom import Checkpoint, async_map, batch_gather, run_jobs, stream

Isolation = Literal["task", "context"]


async def run_ours(load: Load, isolation: Isolation = "task") -> list[int]:
    """Run a load by `run_jobs`."""
    return await run_jobs(load.coroutines(), workers=load.limit, isolation=isolation)


async def map_ours(load: Load) -> list[int]:
    """Run a load by `async_map`."""
    return await async_map(load.job, range(load.count), limit=load.limit)


async def checkpointed(load: Load) -> list[int]:
    """Run a load by `async_map`, each result stored before its job ends."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "results.db")
        return await async_map(load.job, range(load.count), limit=load.limit, checkpoint=checkpoint)


async def stream_ours(load: Load) -> list[int]:
    """Run a load by `stream` and put the outcomes back in input order."""
    results = [0] * load.count
    async with stream(load.coroutines(), limit=load.limit) as outcomes:
        async for outcome in outcomes:
            results[outcome.index] = outcome.value
    return results


async def drain_stream(load: Load) -> list[int]:
    """Run a load by `stream` and keep nothing but the last index and how many there were."""
    count = highest = 0
    async with stream(load.job, range(load.count), limit=load.limit) as outcomes:
        async for outcome in outcomes:
            count += 1
            highest = max(highest, outcome.value)
    return [count, highest]


async def chunks_ours(load: Load) -> list[int]:
    """Run a load by `batch_gather`, chunk after chunk."""
    return await batch_gather(list(load.coroutines()), batch_size=load.limit)


run_in_context = partial(run_ours, isolation="context")

RUN_JOBS = default("spanloom run_jobs", run_ours)
RUN_JOBS_UNHEARD = unheard("spanloom run_jobs, recorder off", run_ours)
CONTEXT = default("spanloom run_jobs, context", run_in_context)
CONTEXT_UNHEARD = unheard("spanloom run_jobs, context, recorder off", run_in_context)
ASYNC_MAP = default("spanloom async_map", map_ours)
CHECKPOINTED = default("spanloom async_map, checkpoint", checkpointed)
STREAM = default("spanloom stream", stream_ours)
STREAM_DRAINED = default("spanloom stream", drain_stream)
BATCH_GATHER = default("spanloom batch_gather", chunks_ours)
ALL = (RUN_JOBS, RUN_JOBS_UNHEARD, CONTEXT, CONTEXT_UNHEARD, ASYNC_MAP, STREAM, BATCH_GATHER)
