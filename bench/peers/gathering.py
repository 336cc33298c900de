"""The standard library's own ways: gather and TaskGroup under a semaphore, and gather chunk after chunk."""

import asyncio
from collections.abc import Coroutine
from itertools import islice
from typing import Any

from bench.contender import plain
from bench.load import Load


async def _bounded(slots: asyncio.Semaphore, job: Coroutine[Any, Any, int]) -> int:
    async with slots:
        return await job


async def run_gather(load: Load) -> list[int]:
    """Run a load by asyncio.gather, a semaphore around each job."""
    slots = asyncio.Semaphore(load.limit)
    return await asyncio.gather(*(_bounded(slots, job) for job in load.coroutines()))


async def run_task_group(load: Load) -> list[int]:
    """Run a load in an asyncio.TaskGroup, a semaphore around each job."""
    slots = asyncio.Semaphore(load.limit)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_bounded(slots, job)) for job in load.coroutines()]
    return [task.result() for task in tasks]


async def run_chunks(load: Load) -> list[int]:
    """Run a load by asyncio.gather, chunk after chunk of `limit` jobs."""
    results: list[int] = []
    jobs = iter(load.coroutines())
    while chunk := list(islice(jobs, load.limit)):
        results += await asyncio.gather(*chunk)
    return results


async def run_bare_gather(load: Load) -> list[int]:
    """Run a load by asyncio.gather with no limit."""
    return await asyncio.gather(*load.coroutines())


GATHER = plain("asyncio.gather + Semaphore", run_gather)
TASK_GROUP = plain("asyncio.TaskGroup + Semaphore", run_task_group)
CHUNKS = plain("asyncio.gather in chunks", run_chunks)
BARE_GATHER = plain("asyncio.gather", run_bare_gather)
