"""anyio: a task group under a CapacityLimiter."""

import anyio

from bench.contender import plain
from bench.load import Load


async def run_anyio(load: Load) -> list[int]:
    """Run a load in an anyio task group, each job borrowing from one CapacityLimiter."""
    limiter = anyio.CapacityLimiter(load.limit)
    results = [0] * load.count
    job = load.job

    async def bounded(index: int) -> None:
        async with limiter:
            results[index] = await job(index)

    async with anyio.create_task_group() as group:
        for index in range(load.count):
            group.start_soon(bounded, index)
    return results


ANYIO = plain("anyio task group + CapacityLimiter", run_anyio, max_jobs=10_000)
