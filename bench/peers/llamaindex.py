"""LlamaIndex: its `run_jobs`, and its callback events with the debug handler."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from llama_index.core.async_utils import run_jobs
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler

from bench.contender import Contender, Session, plain
from bench.load import Load
from bench.peers.pool import run_pool


async def run_llamaindex(load: Load) -> list[int]:
    """Run a load by LlamaIndex's `run_jobs`, which takes a list."""
    return await run_jobs(list(load.coroutines()), workers=load.limit)


@contextmanager
def _open_debug_handler() -> Iterator[Session]:
    manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])

    async def run(load: Load) -> list[int]:
        async def with_event(index: int) -> int:
            with manager.event(CBEventType.FUNCTION_CALL, payload={"index": index}):
                return await load.job(index)

        with manager.as_trace("bench"):
            return await run_pool(replace(load, job=with_event))

    yield Session(run)


RUN_JOBS = plain("llama-index run_jobs", run_llamaindex, max_jobs=10_000)
DEBUG_HANDLER = Contender("P + LlamaDebugHandler event", _open_debug_handler, max_jobs=10_000)
