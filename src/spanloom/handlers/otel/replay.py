"""Spans of events that ended long ago, as `OpenTelemetryHandler` would have made them at the time.

The builder, the division of large batches and the way to a collector are the live handler's. What differs is what
surrounds them: nothing is current, nobody's sampler is asked, and sending may take as long as it takes, because nobody
is waiting for it but the person who asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from spanloom.events import Event, EventType
from spanloom.events.event import JobEvent
from spanloom.exceptions import ExportError
from spanloom.handlers.otel._build import SpanBuilder
from spanloom.handlers.otel._content import captures_content
from spanloom.handlers.otel._counts import ExportCounts, Ledger, total
from spanloom.handlers.otel._handler import version
from spanloom.handlers.otel._json import encode_json_span, json_envelope
from spanloom.handlers.otel._memory import MemoryStore
from spanloom.handlers.otel._options import MAX_CONTENT, MAX_SPANS_PER_TRACE, MAX_TEXT
from spanloom.handlers.otel._outlets import Outlets
from spanloom.handlers.otel._pipeline import Pipeline, transport_for
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._schedule import Schedule
from spanloom.handlers.otel._setup import endpoint_is_set, load_exporter
from spanloom.handlers.otel._starts import SpanStarts

__all__ = ["JsonLines", "SpanReplay", "exporter_to"]

LIST_SIZE: Final = 512
"""Ended events that are built together: about what the drain thread of a live run hands over."""
LINE_BYTES: Final = 256 << 10
"""Bytes of one line, about: the Collector's file receivers cut a line at 1 MiB unless told otherwise."""
MAX_PENDING: Final = 20_000
"""Spans that wait to be sent: the replay waits when there are more, some 8 MB."""
NEWS_S: Final = 1.0
"""Seconds for which nothing is said of a collector that takes nothing: more than an answer takes across an ocean."""
_HTTP_PATH: Final = "/v1/traces"


class JsonLines(SpanExporter):
    """Writes spans as OTLP/JSON, one ``ExportTraceServiceRequest`` a line.

    Args:
        write: Takes one line, its line break included.

    Attributes:
        written: Spans so far, those that wait for their line to be full included.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.written: int = 0
        self._about: tuple[object, object] = (None, None)
        self._around = (b"", b"")
        self._spans: list[bytes] = []
        self._size = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            about = (span.resource, span.instrumentation_scope)
            if about != self._about:
                self.finish()
                self._about, self._around = about, json_envelope(*about)
            encoded = encode_json_span(span)
            if self._size + len(encoded) > LINE_BYTES:
                self.finish()
            self._spans.append(encoded)
            self._size += len(encoded) + 1
            self.written += 1
        return SpanExportResult.SUCCESS

    def finish(self) -> None:
        """Write what is left."""
        if self._spans:
            before, after = self._around
            self._write(before + b",".join(self._spans) + after + b"\n")
            self._spans, self._size = [], 0


def exporter_to(endpoint: str | None = None, protocol: str | None = None) -> SpanExporter:
    """Return the SDK's OTLP exporter, configured by the environment in all that is not told here.

    Args:
        endpoint: What ``OTEL_EXPORTER_OTLP_ENDPOINT`` would say; ``None`` for what the environment says.
        protocol: ``http/protobuf`` or ``grpc``; ``None`` for what the environment says, or the former.

    Raises:
        ExportError: neither `endpoint` nor the environment says where to.
        MissingDependencyError: the exporter's package is not installed.
        ValueError: there is no such protocol.
    """
    make: Callable[..., SpanExporter] = load_exporter(protocol or "")
    if endpoint is None:
        if not endpoint_is_set():
            raise ExportError(
                "there is nowhere to send spans: name an endpoint, http://localhost:4318 for one, "
                "or set OTEL_EXPORTER_OTLP_ENDPOINT"
            )
        return make()
    if ".http." in make.__module__ and not endpoint.rstrip("/").endswith(_HTTP_PATH):
        endpoint = endpoint.rstrip("/") + _HTTP_PATH  # as is done to the variable
    return make(endpoint=endpoint)


class SpanReplay:
    """Builds spans of replayed events.

    Args:
        exporter: Takes the spans: `JsonLines`, or what `exporter_to` returns.
        about: Attributes of the resource. ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME`` go before them.
        max_spans_per_trace: As for `OpenTelemetryHandler`, and with the same default.
        timeout_s: How long a collector may leave all of what waits unanswered, in seconds.
        tell: Is told once, in words, what is waited for, if the collector has taken nothing for `NEWS_S`.

    Raises:
        ExportError: the environment has switched the SDK off.

    With an exporter of the SDK's, spans are sent by the live handler's pipeline, which asks again for as long as it is
    told to try again; here it is not given more than it can hold, so nothing is dropped for want of room.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        about: Mapping[str, str | int],
        *,
        max_spans_per_trace: int | None = MAX_SPANS_PER_TRACE,
        timeout_s: float = 30.0,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self._exporter = exporter
        self._tell = tell
        self._timeout_s = timeout_s
        provider = TracerProvider(sampler=ALWAYS_ON, resource=_resource(about), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("spanloom", version())
        rules = Rules(MAX_TEXT, None, captures_content(None), MAX_CONTENT)
        self._starts = SpanStarts(tracer, live=False, rules=rules, max_spans=max_spans_per_trace)
        self._pipes: list[Pipeline] = []
        self._outlets = Outlets(self._open_pipe, provider.force_flush)
        self._builder = SpanBuilder(tracer, self._starts, self._outlets, rules=rules)
        if self._builder.plan.way == "off":
            raise ExportError(
                "OTEL_SDK_DISABLED is set: no spans are made of anything; unset it to export them"
            )
        self._starters: dict[int, Callable[[Event], object] | None] = {}
        self._ended: list[Event] = []

    def started(self, event: Event) -> None:
        """Note what the spans below `event` will need to know."""
        if isinstance(event, JobEvent):
            starter = self._starters.get(event.batch_id)
            if starter is not None:
                starter(event)
            return
        self._starts.opened(event)
        if event.type == EventType.BATCH:
            self._starters[event.event_id] = self._starts.job_starter(event)

    def ended(self, event: Event) -> None:
        """Build the span of `event`, soon.

        Raises:
            ExportError: the collector does not take what was built before.
        """
        self._ended.append(event)
        self._starters.pop(event.event_id, None)
        if len(self._ended) >= LIST_SIZE:
            self._build()

    def finish(self) -> ExportCounts:
        """Build and send what is left.

        Returns:
            What became of the spans; of `JsonLines` nothing, since a file has no account.

        Raises:
            ExportError: the collector does not take it.
        """
        self._build()
        self._builder.build_rest()
        if isinstance(self._exporter, JsonLines):
            self._exporter.finish()
        for pipe in self._pipes:
            self._wait(pipe)
        return self._counts()

    def close(self) -> None:
        """Let go of connections and threads; what has not been sent is given up."""
        for pipe in self._pipes:
            pipe.close(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _build(self) -> None:
        ended, self._ended = self._ended, []
        self._builder.build(ended)
        for pipe in self._pipes:
            if pipe.stats().pending > MAX_PENDING:
                self._wait(pipe)

    def _wait(self, pipe: Pipeline) -> None:
        """Wait until the collector has taken everything, for as long as it takes some of it in each `timeout_s`."""
        pending, since = pipe.stats().pending, time.monotonic()
        while pending:
            left_s = since + self._timeout_s - time.monotonic()
            if left_s <= 0:
                break
            pipe.flush(min(left_s, NEWS_S))
            if (now := pipe.stats().pending) != pending:
                pending, since = now, time.monotonic()
            elif self._tell is not None and time.monotonic() - since < self._timeout_s:
                self._tell(f"{pipe.trouble or 'no answer yet'}; trying for {self._timeout_s:g} s")
                self._tell = None
        counts = self._counts()
        if counts.pending or counts.dropped:
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(counts.reasons.items()))
            raise ExportError(
                f"the collector took {counts.exported:,} of {counts.exported + counts.pending + counts.dropped:,} spans"
                + (f" ({reasons})" if reasons else f": no answer in {self._timeout_s:g} s")
                + (f"; {pipe.trouble}" if pipe.trouble and pipe.trouble not in reasons else "")
            )

    def _counts(self) -> ExportCounts:
        return total(self._outlets.stats())

    def _open_pipe(self, exporter: SpanExporter) -> Pipeline | None:
        transport = transport_for(exporter)
        if transport is None:
            return None
        # All that comes is wanted, so neither a bound on what waits nor a wait for company.
        schedule = Schedule.from_environment()._replace(max_waiting=None, delay_s=0.0)
        ledger = Ledger()
        pipe = Pipeline(transport, MemoryStore(ledger), ledger, schedule)
        pipe.start()
        self._pipes.append(pipe)
        return pipe


def _resource(about: Mapping[str, str | int]) -> Resource:
    """Return what the spans are of: the run, and what the environment calls it; nothing of the process that exports."""
    sdk = {key: value for key, value in Resource.create().attributes.items() if key.startswith("telemetry.")}
    return Resource({**sdk, **about}).merge(OTELResourceDetector().detect())
