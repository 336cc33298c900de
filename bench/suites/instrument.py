"""Instrumenting: what it adds to a call and to a job, in us of CPU time."""

import statistics

from bench import ours
from bench.clock import compare
from bench.contender import Contender, plain
from bench.figure import Figure, figure
from bench.load import Load, ready, sleep0
from bench.peers.gathering import run_bare_gather, run_gather
from bench.plan import Plan

SUITE = "instrument"
CALLS = 5_000
LIMIT = 64


async def _call(load: Load) -> list[int]:
    return [await load.job(0) for _ in range(load.count)]


async def _call_by_name(load: Load) -> list[int]:
    return [await load.job(index=0) for _ in range(load.count)]


BARE_CALL = plain("the bare call", _call)
BARE_CALL_BY_NAME = plain("the bare call, by name", _call_by_name)
BARE_GATHER = plain("asyncio.gather", run_bare_gather)
BARE_SEMAPHORE = plain("asyncio.gather and a semaphore", run_gather)


def measure(plan: Plan) -> list[Figure]:
    """Time a call that does not suspend, and batches of jobs that suspend once."""
    if not ours.installed():
        return []
    from bench.ours import instrumented

    zeros = Load(ready, CALLS, 1, expected=(0,) * CALLS)
    jobs = Load(sleep0, CALLS, LIMIT, as_list=True)
    return [
        *_added("a coroutine function", BARE_CALL, instrumented.TRACED, zeros, plan),
        *_added("... with an argument by name", BARE_CALL_BY_NAME, instrumented.TRACED_BY_NAME, zeros, plan),
        *_added("a job of a gather", BARE_GATHER, instrumented.GATHER, jobs, plan),
        *_added(
            "... whose queue is a semaphore", BARE_SEMAPHORE, instrumented.GATHER_AND_SEMAPHORE, jobs, plan
        ),
    ]


def _added(column: str, bare: Contender, ours: Contender, load: Load, plan: Plan) -> list[Figure]:
    reference, one = compare(bare, [ours], load, rounds=plan.rounds)
    added = [
        (more - less) / load.count / 1_000 for less, more in zip(reference.cpu_ns, one.cpu_ns, strict=True)
    ]
    return [
        figure(
            SUITE,
            "what it adds, us of CPU time",
            ours.name,
            column,
            "us",
            added,
            judged=ours.name == "@traced",
            ns_per_job=statistics.median(one.cpu_ns) / load.count,
        )
    ]
