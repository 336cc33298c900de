"""logfire: a span around each job, nothing sent to its own service."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import logfire

from bench.contender import Session
from bench.load import Load
from bench.peers.exporting import Exporting, Sink, attributes_of
from bench.peers.pool import run_pool
from bench.peers.spans import FLUSH_TIMEOUT_MS


@contextmanager
def _logfire(to: Sink) -> Iterator[Session]:
    mine = logfire.configure(
        local=True,
        send_to_logfire=False,
        console=False,
        metrics=False,
        inspect_arguments=False,
        service_name="bench",
        additional_span_processors=[to.processor()],
    )

    async def run(load: Load) -> list[int]:
        async def with_span(index: int) -> int:
            with mine.span("job", **attributes_of(index, load)):
                return await load.job(index)

        with mine.span("batch"):
            return await run_pool(replace(load, job=with_span))

    def flush() -> None:
        mine.force_flush(FLUSH_TIMEOUT_MS)

    try:
        yield Session(run, flush)
    finally:
        mine.shutdown(FLUSH_TIMEOUT_MS)


LOGFIRE = Exporting("logfire", _logfire, "P, a bare pool")
