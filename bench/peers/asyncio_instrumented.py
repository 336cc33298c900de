"""opentelemetry-instrumentation-asyncio: a span for each coroutine that is given to asyncio.gather.

Usage: python -m bench.peers.asyncio_instrumented (time URL ROUNDS | burst URL LATENCY_MS)

Its releases want an SDK of their own, so it runs in an environment of its own (`make` keeps it in
build/bench-asyncio) and prints what it found as JSON, for the suite to show beside the others.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from bench.burst import burst
from bench.clock import compare
from bench.contender import Session
from bench.load import Load, sleep0
from bench.peers.exporting import STAGES, Exporting, Sink, provider_of
from bench.peers.gathering import GATHER
from bench.peers.pool import POOL
from bench.plan import BUDGET_CELL
from bench.receiver import Receiver

NAMES = "OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE"


@contextmanager
def _instrumented(to: Sink) -> Iterator[Session]:
    from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor

    async def run(load: Load) -> list[int]:
        slots = asyncio.Semaphore(load.limit)

        async def traced(index: int) -> int:
            async with slots:
                return await load.job(index)

        return await asyncio.gather(*map(traced, range(load.count)))

    os.environ[NAMES] = "traced"
    with provider_of(to) as (provider, flush):
        instrumentor = AsyncioInstrumentor()
        instrumentor.instrument(tracer_provider=provider)
        try:
            yield Session(run, flush)
        finally:
            instrumentor.uninstrument()


ASYNCIO = Exporting("opentelemetry-instrumentation-asyncio", _instrumented, GATHER.name)


def main(mode: str, url: str, number: str) -> None:
    """Time it beside its base in `number` rounds, or send a burst to a receiver that slow; print what came out."""
    receiver = Receiver(url)
    if mode == "burst":
        print(json.dumps(burst(ASYNCIO, receiver, int(number))))
        return
    count, limit = BUDGET_CELL
    contenders = [GATHER, *(ASYNCIO.contender(stage, receiver) for stage in STAGES)]
    series = compare(POOL, contenders, Load(sleep0, count, limit), rounds=int(number))
    print(json.dumps([asdict(one) for one in series]))


if __name__ == "__main__":
    main(*sys.argv[1:])
