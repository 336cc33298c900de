"""A burst: one run of a contender with its own defaults, to a receiver that takes its time, and what arrived."""

import asyncio
import contextvars
import time
from dataclasses import replace

from bench.contender import Run
from bench.load import Load, sleep0
from bench.peers.exporting import SENDING, Exporting, sink
from bench.plan import BUDGET_CELL
from bench.receiver import Receiver


def burst(one: Exporting, receiver: Receiver, latency_ms: int) -> tuple[int, float]:
    """Return how many spans of the jobs were lost, and how many a second arrived until the last was there."""
    count, limit = BUDGET_CELL
    load = Load(sleep0, count, limit)
    to = replace(sink(SENDING, receiver), queue_size=None)
    receiver.behave(latency_ms)
    with asyncio.Runner() as runner, one.open(to) as session:
        started_ns = time.monotonic_ns()
        # a Runner keeps the context it first saw: the one that set-up has just changed must be handed over
        results = runner.run(_awaited(session.run, load), context=contextvars.copy_context())
        session.settle()
    load.check(results, one.name)
    seen = receiver.seen()
    return count - seen.leaves, seen.leaves / max(seen.last_ns - started_ns, 1) * 1e9


async def _awaited(run: Run, load: Load) -> object:
    return await run(load)
