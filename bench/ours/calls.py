"""spanloom's small calls: `gather`, `race`, `retry`, and one `run_jobs` of a few jobs."""

from itertools import islice

from bench.load import Load
from bench.ours.handlers import open_debug
from bench.ours.managed import default, handled, unheard
from bench.ours.runners import run_ours
from bench.peers.retrying import ATTEMPTS, BASE_DELAY_S, JITTER_S, MAX_DELAY_S, Call, one_after_another
from spanloom import RetryPolicy, gather, race


async def gather_ours(load: Load) -> list[int]:
    """Run a load by `gather`, which has no limit."""
    return await gather(*load.coroutines())


async def race_ours(load: Load) -> list[int]:
    """Race `count` jobs and return the winner's result as a list of one."""
    return [await race(*load.coroutines())]


async def gather_fours(load: Load) -> list[int]:
    """Run a load by one `gather` of four after another."""
    jobs = iter(load.coroutines())
    results: list[int] = []
    while four := tuple(islice(jobs, 4)):
        results += await gather(*four)
    return results


async def race_fours(load: Load) -> list[int]:
    """Run a load by one `race` of four after another; return the first of each four, which wins it."""
    jobs = iter(load.coroutines())
    winners: list[int] = []
    while four := tuple(islice(jobs, 4)):
        winners.append(await race(*four))
    return winners


def _retrying(call: Call) -> Call:
    policy = RetryPolicy(attempts=ATTEMPTS, base_delay=BASE_DELAY_S, max_delay=MAX_DELAY_S, jitter=JITTER_S)
    return policy.retrying(call)


GATHER = default("spanloom gather", gather_ours)
GATHER_FOURS = default("spanloom gather, four at a time", gather_fours)
GATHER_DEBUG = handled("spanloom gather + DebugHandler", gather_ours, open_debug)
RUN_JOBS_DEBUG = handled("spanloom run_jobs + DebugHandler", run_ours, open_debug)
RACE = default("spanloom race", race_ours)
RACE_FOURS = default("spanloom race, four at a time", race_fours)
RETRY = default("spanloom retry", one_after_another(_retrying))
RETRY_UNHEARD = unheard("spanloom retry, no events", one_after_another(_retrying))
