"""LlamaIndex: its dispatcher's span around each job, handed to OpenTelemetry by its own integration."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from llama_index.core.instrumentation.dispatcher import Dispatcher
from llama_index.observability.otel.base import OTelCompatibleSpanHandler

from bench.contender import Session
from bench.load import Load
from bench.peers.exporting import Exporting, Sink, provider_of
from bench.peers.pool import run_pool


@contextmanager
def _dispatcher(to: Sink) -> Iterator[Session]:
    with provider_of(to) as (provider, flush):
        handler = OTelCompatibleSpanHandler(provider.get_tracer("llamaindex.opentelemetry.tracer"))
        dispatcher = Dispatcher(name="bench", span_handlers=[handler], propagate=False)

        async def run(load: Load) -> list[int]:
            @dispatcher.span
            async def with_span(index: int) -> int:
                return await load.job(index)

            @dispatcher.span
            async def batch() -> list[int]:
                return await run_pool(replace(load, job=with_span))

            results: list[int] = await batch()
            return results

        yield Session(run, flush)


DISPATCHER = Exporting("LlamaIndex dispatcher", _dispatcher, "P, a bare pool")
