"""P, the bare pool that ratios are ratios to: workers pulling from one shared iterator, and nothing else."""

import asyncio

from bench.contender import plain
from bench.load import Load


async def run_pool(load: Load) -> list[int]:
    """Run a load on `limit` worker tasks: no isolation of jobs, no events, results in input order."""
    results = [0] * load.count
    source = enumerate(load.coroutines())

    async def worker() -> None:
        for index, job in source:
            results[index] = await job

    workers = [asyncio.ensure_future(worker()) for _ in range(min(load.limit, load.count))]
    await asyncio.gather(*workers)
    return results


async def drain_pool(load: Load) -> list[int]:
    """Run a load likewise, and keep nothing of the results but their number and the highest."""
    source = iter(load.coroutines())
    count = highest = 0

    async def worker() -> None:
        nonlocal count, highest
        for job in source:
            highest = max(highest, await job)
            count += 1

    await asyncio.gather(*(worker() for _ in range(min(load.limit, load.count))))
    return [count, highest]


POOL = plain("P, a bare pool", run_pool)
POOL_DRAINED = plain("P, results dropped", drain_pool)
