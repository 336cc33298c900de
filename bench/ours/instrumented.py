"""What instrumenting adds: a decorated function, and a patched asyncio."""

from collections.abc import Iterator
from contextlib import contextmanager

import spanloom
from bench.contender import Contender, Run, Session
from bench.load import Load
from bench.peers.gathering import run_bare_gather, run_gather
from spanloom import CallbackManager, traced, use_callback_manager


async def _call_traced(load: Load) -> list[int]:
    call = traced(load.job)
    return [await call(0) for _ in range(load.count)]


async def _call_traced_by_name(load: Load) -> list[int]:
    call = traced(load.job)
    return [await call(index=0) for _ in range(load.count)]


@contextmanager
def _in_trace(run: Run) -> Iterator[Session]:
    with use_callback_manager(CallbackManager()) as manager, manager.as_trace("calls"):
        yield Session(run)


@contextmanager
def _patched(run: Run) -> Iterator[Session]:
    spanloom.instrument("asyncio")
    try:
        with use_callback_manager(CallbackManager()):
            yield Session(run)
    finally:
        spanloom.uninstrument()


TRACED = Contender("@traced", lambda: _in_trace(_call_traced))
TRACED_BY_NAME = Contender("@traced", lambda: _in_trace(_call_traced_by_name))
GATHER = Contender("a patched gather", lambda: _patched(run_bare_gather))
GATHER_AND_SEMAPHORE = Contender("a patched gather, with its queue", lambda: _patched(run_gather))
