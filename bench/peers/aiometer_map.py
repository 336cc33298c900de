"""aiometer: `run_all`, results in input order."""

from functools import partial

import aiometer

from bench.contender import plain
from bench.load import Load


async def run_aiometer(load: Load) -> list[int]:
    """Run a load by aiometer, which takes functions and not coroutines."""
    jobs = [partial(load.job, index) for index in range(load.count)]
    return await aiometer.run_all(jobs, max_at_once=load.limit)


AIOMETER = plain("aiometer run_all", run_aiometer, max_jobs=10_000)
