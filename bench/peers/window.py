"""The bare floor of a runner that gives each job a task of its own: one is started as a slot comes free."""

import asyncio
from functools import partial

from bench.contender import plain
from bench.load import Load


async def run_window(load: Load) -> list[int]:
    """Run a load with a task per job, at most `limit` of them alive: no events, no handling of failures."""
    loop = asyncio.get_running_loop()
    results = [0] * load.count
    source = enumerate(load.coroutines())
    finished = loop.create_future()
    alive = 0

    def start_next() -> None:
        nonlocal alive
        for index, job in source:
            alive += 1
            loop.create_task(job).add_done_callback(partial(take, index))
            return
        if not alive and not finished.done():
            finished.set_result(None)

    def take(index: int, task: asyncio.Task[int]) -> None:
        nonlocal alive
        alive -= 1
        results[index] = task.result()
        start_next()

    for _ in range(load.limit):
        start_next()
    await finished
    return results


WINDOW = plain("a bare task per job", run_window)
