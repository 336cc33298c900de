"""spanloom's small calls: `gather`, `race`, `retry`, and one `run_jobs` of a few jobs."""

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


def _retrying(call: Call) -> Call:
    policy = RetryPolicy(attempts=ATTEMPTS, base_delay=BASE_DELAY_S, max_delay=MAX_DELAY_S, jitter=JITTER_S)
    return policy.retrying(call)


GATHER = default("spanloom gather", gather_ours)
GATHER_DEBUG = handled("spanloom gather + DebugHandler", gather_ours, open_debug)
RUN_JOBS_DEBUG = handled("spanloom run_jobs + DebugHandler", run_ours, open_debug)
RACE = default("spanloom race", race_ours)
RETRY = default("spanloom retry", one_after_another(_retrying))
RETRY_UNHEARD = unheard("spanloom retry, no events", one_after_another(_retrying))
