"""Spans and metrics of events, by OpenTelemetry.

Theory of operation. At the start of an event, in its task, the handler notes what cannot be known
later: which span is current there (a remote or ambient parent), and what the sampler says. It makes
a stand-in with the event's own ids current, so that spans of user code nest under it. After the end,
on the handler's own thread, the span is built with those ids, the event's times, status and
attributes, and goes to the processors and exporters of the provider. Nothing global is touched.
"""

from __future__ import annotations

import importlib.metadata
import logging
import threading
from collections.abc import Sequence
from typing import Final

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from spanloom.events import Event, EventType
from spanloom.handlers.otel._build import SpanBuilder
from spanloom.handlers.otel._live import detach
from spanloom.handlers.otel._metrics import EventMetrics
from spanloom.handlers.otel._setup import (
    Helper,
    endpoint_is_set,
    global_meter_provider,
    global_tracer_provider,
    load_exporter,
    make_provider,
    queue_size,
)
from spanloom.handlers.otel._starts import SpanStarts

__all__ = ["OpenTelemetryHandler"]

_logger = logging.getLogger("spanloom.handlers.otel")

CLOSE_TIMEOUT_S: Final = 2.0
"""Seconds that `close` waits for the exporter: what the end of the process allows all handlers together."""
MAX_TEXT: Final = 256
"""Characters kept of a payload text, unless told otherwise: identifiers and URLs, not documents."""


class OpenTelemetryHandler:
    """Make a span of every event, and metrics of all of them.

    Spans have the ids, parents and times of their events. Spans go to `tracer_provider`; without one to the global
    provider, looked up at the first event; without that, if ``OTEL_EXPORTER_OTLP_ENDPOINT`` or
    ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` is set, to a provider of the handler's own, configured by the environment
    and sending by OTLP (``http/protobuf`` unless ``OTEL_EXPORTER_OTLP_PROTOCOL`` says ``grpc``). The global providers
    are never replaced, and only a provider of the handler's own is ever shut down.

    Point events become span events of their parent, or spans of no length if they have none. Metrics are made if
    `meter_provider` is given or a global one is set: ``spanloom.event.duration`` and ``spanloom.job.queue.duration``
    (histograms, seconds), ``spanloom.retries`` (counter), ``spanloom.jobs.in_flight`` (observed up-down counter).

    Args:
        tracer_provider: Where spans go; ``None`` as described.
        meter_provider: Where metrics go; ``None`` for the global one, if there is one.
        live_parents: Make the span of an open event the current one in its context, so that spans of user code and
            of instrumented libraries nest under it, and keep what user code sets on it.
        max_text: Characters kept of a payload text, at least 1. Of payloads, only numbers, booleans and texts become
            attributes, at most 32, as ``spanloom.payload.<key>``.

    Raises:
        MissingDependencyError: nothing but the environment says where spans go, and the OTLP exporter for its
            protocol is not installed; the message names the extra.
        ValueError: `max_text` is below 1, or the environment names an unknown OTLP protocol.
    """

    wants: frozenset[str] | None = None

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        live_parents: bool = True,
        max_text: int = MAX_TEXT,
    ) -> None:
        if max_text < 1:
            raise ValueError(f"max_text is a number of characters, at least 1 (got {max_text})")
        if tracer_provider is None and global_tracer_provider() is None and endpoint_is_set():
            load_exporter()  # now, where its absence has a caller to be told
        self._given = tracer_provider
        self._given_meters = meter_provider
        self._live_parents = live_parents
        self._max_text = max_text
        self._lock = threading.Lock()
        self._provider: TracerProvider | None = None
        self._is_own = False
        self._starts: SpanStarts | None = None
        self._builder: SpanBuilder | None = None
        self._metrics: EventMetrics | None = None
        self._helper: Helper | None = None
        self._unflushed = 0
        self._is_stuck = False
        self._warned = False

    # inline -----------------------------------------------------------------------------------------

    def on_event_start(self, event: Event) -> None:
        """Note what the event inherits, and make its span-to-be current."""
        starts = self._starts
        if starts is None:
            # Looked up at the roots only: a trace is exported as a whole, or not at all.
            if event.parent_id is not None or not self._connect() or self._starts is None:
                return
            starts = self._starts
        if starts.wants_every_start or event.parent_id is None:
            starts.opened(event)
        if self._metrics is not None and event.type == EventType.BATCH:
            self._metrics.batch_started(event)

    def on_event_end(self, event: Event) -> None:
        """Set back what was current before, where that is the caller's context and not a job's own."""
        if event.job_index is not None or self._starts is None:
            return
        if self._live_parents:
            detach(event)
        if self._metrics is not None and event.type == EventType.BATCH:
            self._metrics.batch_ended(event)

    # on the drain thread ------------------------------------------------------------------------------

    def on_events(self, events: Sequence[Event]) -> None:
        """Build the spans of ended events and record their metrics."""
        if self._builder is None and not self._connect():
            return
        if self._builder is not None:
            self._unflushed += self._builder.build(events)
            self._pace()
        if self._metrics is not None:
            self._metrics.record(events)

    def flush(self, timeout: float) -> bool:
        """Have the provider export what it holds.

        Args:
            timeout: Seconds to wait at most. The SDK's own timeout is not kept by its batch processor.

        Returns:
            True if the provider said in time that it has exported everything.
        """
        provider, helper = self._provider, self._helper_of_this_process()
        if provider is None or helper is None:
            return True
        force_flush = getattr(provider, "force_flush", None)  # of the SDK, not of the API
        self._unflushed = 0
        if force_flush is not None:
            self._is_stuck = helper.call(lambda: force_flush(int(timeout * 1000)), timeout) is not True
        return not self._is_stuck

    def close(self) -> None:
        """Export what is left within 2 s; shut the provider down if it is the handler's own."""
        helper, builder, provider = self._helper_of_this_process(), self._builder, self._provider
        if helper is None or builder is None or provider is None:
            return
        self._unflushed += builder.build_rest()
        # What the last flush could not send in its time, another wait would not send either.
        timeout = 0.0 if self._is_stuck else CLOSE_TIMEOUT_S
        shutdown = getattr(provider, "shutdown", None) if self._is_own else None
        if shutdown is not None:
            helper.call(shutdown, timeout)
        elif self._unflushed:
            self.flush(timeout)
        with self._lock:
            # Added again, it begins anew; a provider that was shut down takes no more spans.
            self._provider = self._starts = self._builder = self._metrics = self._helper = None
        helper.stop()

    # where it all goes ----------------------------------------------------------------------------------

    def _connect(self) -> bool:
        """Find the providers, once there are some; return False while there are none."""
        with self._lock:
            if self._provider is not None:
                return True
            provider = self._given or global_tracer_provider()
            is_own = provider is None and endpoint_is_set()
            if is_own:
                provider = make_provider()
            if provider is None:
                self._warn()
                return False
            tracer = provider.get_tracer("spanloom", _version())
            self._is_own = is_own
            starts = SpanStarts(tracer, live=self._live_parents, max_length=self._max_text)
            self._builder = SpanBuilder(tracer, starts, max_length=self._max_text)
            meters = self._given_meters or global_meter_provider()
            if meters is not None:
                self._metrics = EventMetrics(meters, _version())
            self._helper = Helper("spanloom-otel-flush")
            self._provider, self._starts = provider, starts
            return True

    def _pace(self) -> None:
        """Have the provider export before its queue is full: it drops what comes then, and tells nobody.

        The events that end meanwhile wait for this thread, where a loss is counted.
        """
        if self._unflushed * 2 >= queue_size():
            self._unflushed = 0
            force_flush = getattr(self._provider, "force_flush", None)
            if force_flush is not None:
                force_flush()

    def _helper_of_this_process(self) -> Helper | None:
        if self._helper is not None and not self._helper.is_ours:
            self._helper = Helper("spanloom-otel-flush")
        return self._helper

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning(
                "OpenTelemetryHandler has nowhere to send spans: give it a tracer_provider, set a global one, "
                "or set OTEL_EXPORTER_OTLP_ENDPOINT"
            )


def _version() -> str:
    try:
        return importlib.metadata.version("spanloom")
    except importlib.metadata.PackageNotFoundError:
        return ""
