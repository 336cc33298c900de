"""Where finished spans go: the provider's processors at their own pace, or pipelines of our own to a collector.

A ``BatchSpanProcessor`` silently drops the oldest spans of a full queue. So we make it export before half of its queue
is full; events that end meanwhile wait for this thread, where a loss would be counted. The other half is left to the
spans of user code. An unknown processor may contain a batch processor; its queue is assumed to have the size that the
environment says.

Spans for an OTLP exporter of the SDK do not need its processor at all: encoded, they go to a pipeline that sends to the
same endpoint, knows what has arrived, and does not drop what a slow collector has not taken yet: while that takes
what it is sent, this thread waits for room here, too.

With a spool, spans are finished in the tasks and threads of user code. A pipeline may be called there: it never waits.
A processor may export on the spot, or be made to, so what is for processors waits for `Outlets.hand_over`.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Protocol

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter

from spanloom.events import Event
from spanloom.handlers.otel._counts import ExportCounts
from spanloom.handlers.otel._frame import Envelope
from spanloom.handlers.otel._plan import Plan, exporter_of, is_otlp
from spanloom.handlers.otel._setup import queue_size

__all__ = ["OpenPipe", "Outlets", "Pipe"]


class Pipe(Protocol):
    """Takes encoded spans to a collector."""

    def put(self, envelope: Envelope, frames: Sequence[bytes]) -> None:
        """Take spans; any thread, never waits for the network."""

    @property
    def portion(self) -> int | None:
        """How many spans are best put at once; ``None`` for any number."""

    def make_room(self, count: int) -> None:
        """Wait until there is room for so many spans, if that helps."""

    def hurry(self) -> None:
        """Have everything that was put sent without delay; does not wait."""

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

    Attributes:
        is_deferring: Whether finished spans come from where nothing may wait; those for processors are kept until
            `hand_over`.
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
        self.is_deferring = False
        self._deferred: deque[ReadableSpan] = deque()
        self._stuck: set[Pipe] = set()

    def follow(self, plan: Plan) -> None:
        """Find out, once for every plan, which processors a pipeline replaces."""
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

    def renew(self) -> None:
        """Forget the waiting spans; in a forked child, which would export them a second time."""
        self._deferred.clear()
        self._unflushed = 0
        self._stuck.clear()

    def portions(self, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
        """Yield `events` in lists, each when the pipelines have room for its spans; on a thread that may wait."""
        step = min((most for pipe in self.pipes if (most := pipe.portion) is not None), default=len(events))
        for start in range(0, len(events), max(1, step)):
            part = events[start : start + step] if step < len(events) else events
            for pipe in self.pipes:
                pipe.make_room(len(part))
            yield part

    def put_frames(self, envelope: Envelope, frames: Sequence[bytes]) -> None:
        """Hand encoded spans to every pipeline."""
        if frames:
            for pipe in self.pipes:
                pipe.put(envelope, frames)

    def put_spans(self, spans: Sequence[ReadableSpan]) -> None:
        """Hand finished spans to every processor that no pipeline replaces, no faster than it can take them."""
        if self.is_deferring:
            if self.processors:
                self._deferred.extend(spans)
        else:
            self._put_spans(spans)

    def hand_over(self) -> None:
        """Hand the processors what was deferred; on a thread that may wait for their exporters."""
        while self._deferred:
            spans: list[ReadableSpan] = []
            with contextlib.suppress(IndexError):  # another thread may do the same
                while len(spans) < self._room:
                    spans.append(self._deferred.popleft())
            self._put_spans(spans)
            self._make_room()

    def _put_spans(self, spans: Sequence[ReadableSpan]) -> None:
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
                _append(processor, spans[start : start + step])

    def count(self) -> None:
        """Count one span that went to the processors by another way, and make them export in time."""
        self._unflushed += 1
        self._make_room()

    def _make_room(self) -> None:
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
        """Whether a processor was given spans, or is to be, since the provider has last exported what it held."""
        return self._unflushed > 0 or bool(self._deferred)

    def flushed(self) -> None:
        """Note that the provider has just exported what it held."""
        self._unflushed = 0

    def hurry(self) -> None:
        """Make all pipelines send what they hold, concurrently; call it before waiting for any."""
        for pipe in self._opened():
            pipe.hurry()

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` s for the pipelines; return True if the collectors have acknowledged everything."""
        deadline = time.monotonic() + timeout
        self.hurry()
        is_done = True
        for pipe in self._opened():
            if pipe.flush(max(0.0, deadline - time.monotonic())):
                self._stuck.discard(pipe)
                continue
            is_done = False
            if time.monotonic() >= deadline and pipe.stats().pending:
                self._stuck.add(pipe)
            else:
                self._stuck.discard(pipe)
        return is_done

    @property
    def is_stuck(self) -> bool:
        """Whether the last flush of a pipeline could not send in its time what there was."""
        return bool(self._stuck)

    def close(self, timeout: float) -> bool:
        """Close the pipelines within `timeout` s; return True if the collectors have acknowledged everything.

        What the last flush of a pipeline could not send in its time, another wait would not send either.
        """
        deadline = time.monotonic() + timeout
        self.hurry()
        done = [
            pipe.close(0.0 if pipe in self._stuck else max(0.0, deadline - time.monotonic()))
            for pipe in sorted(self._opened(), key=self._stuck.__contains__)
        ]
        return all(done)

    def lose(self, count: int) -> None:
        """Account for spans that could not be encoded, so that none of the pipelines got them."""
        self._lost += count * len(self.pipes)

    def stats(self) -> list[ExportCounts]:
        """Return the accounts of all pipelines that were ever opened, and of what could not be put into them."""
        lost = self._lost
        unencodable = ExportCounts(lost, 0, lost, 0, {"not encodable": lost} if lost else {})
        return [unencodable, *(pipe.stats() for pipe in self._opened())]

    def _opened(self) -> list[Pipe]:
        """Return all that were ever opened: an exporter that is not called any more may have left something there."""
        return [pipe for pipe in list(self._pipes.values()) if pipe is not None]

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


def _append(processor: SpanProcessor, spans: Sequence[ReadableSpan]) -> None:
    """Do with each of `spans`, all of them sampled, what ``on_end`` of a processor that has a queue does.

    That is to append a span to the queue, which is done for hundreds of them at once, in a twentieth of the time. What
    else it does is for all of them as well as for one: at the first, to begin anew in a forked child; at the last, to
    wake its thread if there is enough to export.
    """
    processor.on_end(spans[0])
    rest = spans[1:]
    queue = _queue(processor) if len(rest) > 1 and _only_appends(processor) else None
    if queue is not None:
        queue.extendleft(rest[:-1])
        rest = rest[-1:]
    for span in rest:
        processor.on_end(span)


def _only_appends(processor: SpanProcessor) -> bool:
    """Return whether a batch processor appends a span to its queue and is done: not if it is shut down or patched."""
    inside = getattr(processor, "_batch_processor", None)
    methods = getattr(type(processor), "on_end", None), getattr(type(inside), "emit", None)
    return (
        all(map(_is_sdks, methods))
        and "emit" not in vars(inside)
        and getattr(inside, "_shutdown", True) is False
    )


def _is_sdks(method: object) -> bool:
    return (
        type(method) is FunctionType
        and method.__module__.startswith("opentelemetry.sdk.")
        and not hasattr(method, "__wrapped__")
    )


def _capacity(processor: SpanProcessor) -> int:
    queue = _queue(processor)
    return queue_size() if queue is None or queue.maxlen is None else queue.maxlen
