"""OpenTelemetry: a span around each job by hand, through the SDK's BatchSpanProcessor."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from bench.contender import Contender, Session
from bench.load import Load
from bench.peers.pool import run_pool

QUEUE_SIZE = (
    1 << 17
)  # spans; holds a whole run: at its default of 2,048 a burst is mostly dropped, which is cheap
FLUSH_TIMEOUT_MS = 60_000


class CountingExporter(SpanExporter):
    """Count what arrives and send it nowhere, after encoding it as OTLP if asked to."""

    def __init__(self, *, encode: bool = False) -> None:
        self.count = 0
        self.bytes = 0
        self._encode = encode

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Count spans, and the bytes they would be on the wire."""
        self.count += len(spans)
        if self._encode:
            self.bytes += len(encode_spans(spans).SerializeToString())
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing: nothing was opened."""

    def force_flush(self, timeout_millis: int = FLUSH_TIMEOUT_MS) -> bool:
        """Say that all is out, which it is."""
        return True


@contextmanager
def counting_provider(*, encode: bool) -> Iterator[tuple[TracerProvider, Callable[[], None]]]:
    """Give a provider that exports to a counter, and the function that flushes it.

    Raises:
        AssertionError: From the flush, when no span arrived.
    """
    exporter = CountingExporter(encode=encode)
    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_SIZE))

    def flush() -> None:
        provider.force_flush(FLUSH_TIMEOUT_MS)
        if not exporter.count:
            raise AssertionError("no span reached the exporter: this would time nothing")

    try:
        yield provider, flush
    finally:
        provider.shutdown()


@contextmanager
def _open_spans(*, encode: bool) -> Iterator[Session]:
    with counting_provider(encode=encode) as (provider, flush):
        tracer = provider.get_tracer("bench")

        async def run(load: Load) -> list[int]:
            async def with_span(index: int) -> int:
                attributes: dict[str, str | int] = {
                    "job.index": index,
                    "job.name": "bench",
                    "job.attempt": 1,
                    "batch.id": "b1",
                    "batch.size": load.count,
                }
                with tracer.start_as_current_span("job", attributes=attributes):
                    return await load.job(index)

            with tracer.start_as_current_span("batch"):
                return await run_pool(replace(load, job=with_span))

        yield Session(run, flush)


SPANS = Contender("P + OpenTelemetry span by hand", partial(_open_spans, encode=False), max_jobs=10_000)
SPANS_ENCODED = Contender(
    "P + OpenTelemetry span by hand, OTLP bytes", partial(_open_spans, encode=True), max_jobs=10_000
)
