"""Where the spans of a contender go: to a counter, to an encoder, or over the wire to a receiver."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from bench.contender import Contender, Session
from bench.load import Load
from bench.peers.pool import run_pool
from bench.peers.spans import FLUSH_TIMEOUT_MS, QUEUE_SIZE, CountingExporter
from bench.receiver import Receiver

PRODUCTION, ENCODING, SENDING = STAGES = (
    "production",
    "production + encoding",
    "production + encoding + sending",
)


@dataclass(frozen=True, slots=True)
class Sink:
    """Where to export, and whether it arrived.

    Attributes:
        exporter: Makes the exporter.
        arrived: Returns how many spans have come since the last question.
        queue_size: Spans that a batch processor of the SDK's holds; `None` for its default, with which a burst is
            mostly dropped: of its own accord, it would be the cheapest.
    """

    exporter: Callable[[], SpanExporter]
    arrived: Callable[[], int]
    queue_size: int | None = QUEUE_SIZE

    def processor(self) -> BatchSpanProcessor:
        """Return a batch processor of the SDK's that exports here."""
        return BatchSpanProcessor(self.exporter(), max_queue_size=self.queue_size)


def sink(stage: str, receiver: Receiver) -> Sink:
    """Return where the spans of a stage go."""
    if stage != SENDING:
        counter = CountingExporter(encode=stage == ENCODING)
        return Sink(lambda: counter, lambda: counter.count)
    return Sink(partial(OTLPSpanExporter, f"{receiver.url}/v1/traces"), lambda: receiver.seen().leaves)


@dataclass(frozen=True, slots=True)
class Exporting:
    """A way to make spans of a load's jobs.

    Attributes:
        name: What the tables call it.
        open: Sets it up with a sink; gives what runs the load, and the flush.
        base: Name of the contender that runs the same load without spans.
        stages: Those that it has.
    """

    name: str
    open: Callable[[Sink], AbstractContextManager[Session]]
    base: str
    stages: tuple[str, ...] = STAGES

    def contender(self, stage: str, receiver: Receiver) -> Contender:
        """Return the contender for one stage, which refuses a run whose spans did not arrive."""
        return Contender(label(self.name, stage), partial(self._open, stage, receiver))

    @contextmanager
    def _open(self, stage: str, receiver: Receiver) -> Iterator[Session]:
        if stage == SENDING:
            receiver.behave()
        to = sink(stage, receiver)
        with self.open(to) as session:
            expected = 0

            async def run(load: Load) -> object:
                nonlocal expected
                expected += load.count
                return await session.run(load)

            yield Session(run, session.settle)
            if to.arrived() < expected:
                raise AssertionError(f"{self.name}: {to.arrived()} of {expected} spans arrived")


def label(name: str, stage: str) -> str:
    """Name a contender at a stage."""
    return f"{name}: {stage}"


@contextmanager
def provider_of(to: Sink) -> Iterator[tuple[TracerProvider, Callable[[], None]]]:
    """Give a provider with one batch processor, and its flush."""
    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}), shutdown_on_exit=False)
    provider.add_span_processor(to.processor())
    try:
        yield provider, lambda: bool(provider.force_flush(FLUSH_TIMEOUT_MS)) and None
    finally:
        provider.shutdown()


def attributes_of(index: int, load: Load) -> Mapping[str, str | int]:
    """Return the five attributes that every peer gives the span of a job."""
    return {
        "job.index": index,
        "job.name": "bench",
        "job.attempt": 1,
        "batch.id": "b1",
        "batch.size": load.count,
    }


@contextmanager
def _by_hand(to: Sink) -> Iterator[Session]:
    with provider_of(to) as (provider, flush):
        tracer = provider.get_tracer("bench")

        async def run(load: Load) -> list[int]:
            async def with_span(index: int) -> int:
                with tracer.start_as_current_span("job", attributes=attributes_of(index, load)):
                    return await load.job(index)

            with tracer.start_as_current_span("batch"):
                return await run_pool(replace(load, job=with_span))

        yield Session(run, flush)


BY_HAND = Exporting("OpenTelemetry SDK by hand", _by_hand, "P, a bare pool")
