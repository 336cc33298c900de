"""Where finished spans go: the provider's processors at their own pace, or pipelines of our own to a collector.

A ``BatchSpanProcessor`` drops the oldest spans of a full queue and tells nobody. So before half of its queue is full
it is made to export, while the events that end meanwhile wait for this thread, where a loss would be counted; the other
half is left to the spans of user code. A processor that we do not know may have a batch processor inside; it is taken
to have a queue of the size that the environment says.

Spans for an OTLP exporter of the SDK do not need its processor at all: encoded, they go to a pipeline that sends to the
same endpoint, knows what has arrived, and does not drop what a slow collector has not taken yet.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter

from spanloom.handlers.otel._counts import ExportCounts
from spanloom.handlers.otel._frame import Envelope
from spanloom.handlers.otel._plan import Plan, exporter_of, is_otlp
from spanloom.handlers.otel._setup import queue_size

__all__ = ["OpenPipe", "Outlets", "Pipe"]


class Pipe(Protocol):
    """Takes encoded spans to a collector."""

    def put(self, envelope: Envelope, frames: Sequence[bytes]) -> None:
        """Take spans; any thread, never waits for the network."""

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` s; return True only if the collector has acknowledged everything put before."""
        ...

    def close(self, timeout: float) -> bool:
        """Flush, and let go of threads and connections; what :meth:`flush` returns."""
        ...

    def stats(self) -> ExportCounts:
        """Return what became of what was put."""
        ...


OpenPipe = Callable[[SpanExporter], Pipe | None]
"""Makes the pipeline that takes the place of an OTLP exporter; ``None`` if that exporter has to do it itself."""


class Outlets:
    """Where the spans of one handler go.

    Args:
        open_pipe: Makes pipelines; called once for every OTLP exporter.
        flush_all: Has a provider whose processors are not known export what it holds; waits.
    """

    def __init__(self, open_pipe: OpenPipe, flush_all: Callable[[], object]) -> None:
        self._open_pipe = open_pipe
        self._flush_all = flush_all
        self._pipes: dict[SpanExporter, Pipe | None] = {}
        self._plan: Plan | None = None
        self.pipes: tuple[Pipe, ...] = ()
        self.processors: tuple[SpanProcessor, ...] = ()
        self._room = 0
        self._unflushed = 0
        self._lost = 0

    def follow(self, plan: Plan) -> None:
        """Find out, once for every plan, which processors a pipeline takes the place of."""
        if plan == self._plan:
            return
        pipes: list[Pipe] = []
        processors: list[SpanProcessor] = []
        for processor in plan.processors:
            pipe = self._pipe_for(processor)
            if pipe is None:
                processors.append(processor)
            else:
                pipes.append(pipe)
        self.pipes, self.processors = tuple(pipes), tuple(processors)
        sizes = [_capacity(processor) for processor in processors]
        self._room = max(1, min(sizes, default=queue_size()) // 2)
        self._plan = plan

    def put_frames(self, envelope: Envelope, frames: Sequence[bytes]) -> None:
        """Hand encoded spans to every pipeline."""
        if frames:
            for pipe in self.pipes:
                pipe.put(envelope, frames)

    def put_spans(self, spans: Sequence[ReadableSpan]) -> None:
        """Hand finished spans to every processor that no pipeline stands for, none faster than it can take them."""
        if self.processors:
            self._unflushed += len(spans)
        for processor in self.processors:
            queue = _queue(processor)
            if queue is None:
                for span in spans:
                    processor.on_end(span)
                continue
            step = max(1, (queue.maxlen or len(spans)) // 4)
            for start in range(0, len(spans), step):
                if queue.maxlen is not None and (len(queue) + step) * 2 > queue.maxlen:
                    processor.force_flush()
                for span in spans[start : start + step]:
                    processor.on_end(span)

    def count(self) -> None:
        """Count one span that has gone to the processors by itself, and have them export in time."""
        self._unflushed += 1
        if self._unflushed >= self._room:
            self._unflushed = 0
            # One by one: before OpenTelemetry 1.30, a processor without a flush of its own keeps those after it
            # from theirs.
            for processor in self.processors:
                processor.force_flush()
            if not self.processors:
                self._flush_all()

    @property
    def holds_some(self) -> bool:
        """Whether a processor was given spans since the provider has last exported what it held."""
        return self._unflushed > 0

    def flushed(self) -> None:
        """Note that the provider has just exported what it held."""
        self._unflushed = 0

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` s for the pipelines; return True if the collector has acknowledged everything."""
        return self._each(lambda pipe, left: pipe.flush(left), timeout)

    def close(self, timeout: float) -> bool:
        """Close the pipelines within `timeout` s; return True if the collector has acknowledged everything."""
        return self._each(lambda pipe, left: pipe.close(left), timeout)

    def lose(self, count: int) -> None:
        """Account for spans that could not be encoded, so that none of the pipelines got them."""
        self._lost += count * len(self.pipes)

    def stats(self) -> list[ExportCounts]:
        """Return the accounts of all pipelines that were ever opened, and of what could not be put into them."""
        lost = self._lost
        unencodable = ExportCounts(lost, 0, lost, 0, {"not encodable": lost} if lost else {})
        return [unencodable, *(pipe.stats() for pipe in self._pipes.values() if pipe is not None)]

    def _each(self, call: Callable[[Pipe, float], bool], timeout: float) -> bool:
        # All that were ever opened: an exporter that is not called any more may have left something in its pipeline.
        deadline = time.monotonic() + timeout
        opened = [pipe for pipe in self._pipes.values() if pipe is not None]
        done = [call(pipe, max(0.0, deadline - time.monotonic())) for pipe in opened]
        return all(done)

    def _pipe_for(self, processor: SpanProcessor) -> Pipe | None:
        exporter = exporter_of(processor)
        if exporter is None or not is_otlp(exporter):
            return None
        if exporter not in self._pipes:
            self._pipes[exporter] = self._open_pipe(exporter)
        return self._pipes[exporter]


def _queue(processor: SpanProcessor) -> deque[object] | None:
    """Return the queue of a batch processor, which has no public name; ``None`` if it has none."""
    inside = getattr(processor, "_batch_processor", None)  # since OpenTelemetry 1.33
    queue = getattr(processor, "queue", None) if inside is None else getattr(inside, "_queue", None)
    return queue if isinstance(queue, deque) else None


def _capacity(processor: SpanProcessor) -> int:
    queue = _queue(processor)
    return queue_size() if queue is None or queue.maxlen is None else queue.maxlen
