"""A race: the first of several, by asyncio.wait; the losers are cancelled and awaited."""

import asyncio

from bench.contender import plain
from bench.load import Load


async def contestant(index: int) -> int:
    """Suspend once and win, as the first; wait for ever, as any other."""
    if index:
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(0)
    return index


async def race_by_wait(load: Load) -> list[int]:
    """Race `count` jobs and return the winner's result as a list of one."""
    tasks = [asyncio.ensure_future(job) for job in load.coroutines()]
    done, losers = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in losers:
        task.cancel()
    await asyncio.gather(*losers, return_exceptions=True)
    return [done.pop().result()]


WAIT = plain("asyncio.wait + cancel", race_by_wait)
