"""Spans and metrics of events, by OpenTelemetry.

Theory of operation. At the start of an event, in its task, the handler notes what cannot be known
later: which span is current there (a remote or ambient parent), and what the sampler says. It makes
a stand-in with the event's own ids current, so that spans of user code nest under it. After the end,
on the handler's own thread, the span is built with those ids, the event's times, status and
attributes, and goes to the processors and exporters of the provider. Nothing global is touched.

There are two ways to build a span, which give the same spans: the lean one makes finished spans, or their OTLP bytes,
without the SDK's tracer; the SDK's own is taken where the provider has parts that would notice (`_plan.py` tells how
that is decided, ``OpenTelemetryHandler.path`` what came out). Whatever is known about the start of events is kept by
`SpanStarts`, whatever is done at their end by `SpanBuilder`, and what becomes of finished spans is up to `Outlets`.

A quarter of this file is the description of the options; what the handler is connected to is in `_connection.py`.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from spanloom._numbers import check_count
from spanloom.callbacks.table import hand_over_to
from spanloom.events import Event, EventType
from spanloom.handlers.otel._attached import attach
from spanloom.handlers.otel._connection import CLOSE_TIMEOUT_S, Connection, SpanOptions
from spanloom.handlers.otel._content import captures_content
from spanloom.handlers.otel._counts import ExportCounts, total
from spanloom.handlers.otel._genai import describe_gen_ai, entitle_gen_ai
from spanloom.handlers.otel._live import detach
from spanloom.handlers.otel._openinference import describe_openinference
from spanloom.handlers.otel._options import MAX_CONTENT, MAX_SPANS_PER_TRACE, MAX_TEXT
from spanloom.handlers.otel._outlets import Outlets
from spanloom.handlers.otel._pipeline import transport_for
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._setup import (
    endpoint_is_set,
    export_is_off,
    global_meter_provider,
    global_tracer_provider,
    load_exporter,
    make_provider,
    names_other_exporters,
)
from spanloom.handlers.otel._sharding import MIN_LIMIT
from spanloom.handlers.otel._sigterm import SigtermFlush
from spanloom.handlers.otel._spool_options import SpoolOptions
from spanloom.handlers.otel._starts import SpanStarts
from spanloom.handlers.otel._tail import TailPolicy

__all__ = ["OpenTelemetryHandler", "version"]

_logger = logging.getLogger("spanloom.handlers.otel")

HAND_OVER_S: Final = 0.5
"""Seconds without any list of events after which none is coming: five times the interval in which they come."""

_PROFILES: Final = {
    "plain": None,
    "gen_ai": describe_gen_ai,
    "openinference": describe_openinference,
}


class OpenTelemetryHandler:
    """Make a span of every event, and metrics of all of them.

    Spans have the ids, parents and times of their events. Spans go to `tracer_provider`; without one to the global
    provider, looked up at the first event; without that, if ``OTEL_EXPORTER_OTLP_ENDPOINT``,
    ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` or ``OTEL_TRACES_EXPORTER`` says where to, to a provider of the handler's
    own, configured by the environment and sending by OTLP unless that says otherwise (``http/protobuf`` unless
    ``OTEL_EXPORTER_OTLP_PROTOCOL`` says ``grpc``). The global providers are never replaced, and only a provider of the
    handler's own is ever shut down.

    Spans are built without the SDK's tracer where that makes no difference, at a tenth of the cost: where the
    provider has only the SDK's own batch and simple processors, with any exporter, and a sampler that
    ``OTEL_TRACES_SAMPLER`` can name. Anything else (a processor of your own, a sampler that decides by attributes)
    gets spans that the SDK has started and ended. `path` tells which.

    What would go through the SDK's OTLP exporter is sent by the handler itself, to the same endpoint. The provider's
    ``force_flush`` has these spans sent, too, and says whether they have arrived; so does its ``shutdown``, for up to
    2 s. That does not end their sending: what ends later is not lost. `CallbackManager.flush` and ``close`` do both.

    Point events become span events of their parent, or spans of no length if they have none. Metrics are made if
    `meter_provider` is given or a global one is set: ``spanloom.event.duration`` and ``spanloom.job.queue.duration``
    (histograms, seconds), ``spanloom.retries`` (counter), ``spanloom.jobs.in_flight`` (observed up-down counter). With
    the profile ``gen_ai`` also the conventions' ``gen_ai.client.operation.duration`` and ``gen_ai.client.token.usage``.

    Args:
        tracer_provider: Where spans go; ``None`` as described.
        meter_provider: Where metrics go; ``None`` for the global one, if there is one.
        live_parents: Make the span of an open event the current one in its context, so that spans of user code and
            of instrumented libraries nest under it, and keep what user code sets on it.
        max_spans_per_trace: Spans of ours that one trace may have, at least 10; ``None`` for any number. What would be
            more goes to shards: traces of their own, each under a root span that is linked to the owner's span.
            A batch that does not fit into what is left of its trace is divided as a whole, by index.
        tail: Which jobs get spans if not all do; ``None`` for all. Metrics and the numbers on the batch's span count
            every job.
        max_text: Characters kept of a payload text, at least 1. Of payloads, only numbers, booleans and texts become
            attributes, at most 32, as ``spanloom.payload.<key>``.
        profile: Attribute names for the payload keys of `spanloom.events.model_keys`: ``"plain"`` (ours),
            ``"gen_ai"`` (OpenTelemetry's semantic conventions for generative AI, version `SEMCONV_GEN_AI`, with their
            names and kinds of spans) or ``"openinference"``.
        capture_content: Record prompts, answers, and the arguments and results of tools. ``None``: as the variable
            ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` says; without it, no.
        max_content: Characters kept of each of those, at least 16.
        spool: A directory where spans are kept until the collector has acknowledged them, made if it is not there;
            ``None`` to keep them in memory. A span is written there before its event's end is over, so the death of
            the process, by SIGKILL too, loses none; the next process with the same directory sends what is left.
            For OTLP only; without any provider, spans go to the endpoint in the environment or to the default one.
            Any number of processes may share a directory. With `tail`, a job is written when it is chosen. POSIX only.
        spool_max_bytes: What may lie there, of all processes, in bytes; the oldest spans give way. ``None``: 256 MiB.
        spool_max_age_s: How long spans may lie there, in seconds. ``None``: seven days.
        flush_on_sigterm: On SIGTERM, send what has ended (at most 2 s); then an earlier signal handler is called or,
            without one, the process dies of the signal. Not needed with `spool`. The handler must then be made in the
            main thread.

    Raises:
        MissingDependencyError: nothing but the environment says where spans go, and the OTLP exporter for its
            protocol is not installed; the message names the extra.
        ValueError: `max_text` or a bound of the spool is below 1, `max_spans_per_trace` below 10, `max_content` below
            16, there is no such `profile`, `spool` is a file or the system has no file locks, the environment names an
            unknown OTLP protocol, or SIGTERM cannot be taken here.
    """

    wants: frozenset[str] | None = None
    on_event: Callable[[Event], None] | None = None  # a hook with a spool only

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        live_parents: bool = True,
        max_spans_per_trace: int | None = MAX_SPANS_PER_TRACE,
        tail: TailPolicy | None = None,
        max_text: int = MAX_TEXT,
        profile: Literal["plain", "gen_ai", "openinference"] = "plain",
        capture_content: bool | None = None,
        max_content: int = MAX_CONTENT,
        spool: str | os.PathLike[str] | None = None,
        spool_max_bytes: int | None = None,
        spool_max_age_s: float | None = None,
        flush_on_sigterm: bool = False,
    ) -> None:
        check_count(max_text, "max_text")
        check_count(max_content, "max_content", least=16)
        if profile not in _PROFILES:
            raise ValueError(f"profile must be one of {', '.join(_PROFILES)} (got {profile!r})")
        if max_spans_per_trace is not None:
            check_count(
                max_spans_per_trace, "max_spans_per_trace", least=MIN_LIMIT, more=", or None for no limit"
            )
        self._spool = None if spool is None else SpoolOptions.checked(spool, spool_max_bytes, spool_max_age_s)
        makes_own = tracer_provider is None and global_tracer_provider() is None and self._may_export()
        if makes_own and not names_other_exporters():
            load_exporter()  # now, where its absence has a caller to be told
        self._given = tracer_provider
        self._given_meters = meter_provider
        self._live_parents = live_parents
        title = entitle_gen_ai if profile == "gen_ai" else None
        self._options = SpanOptions(
            live_parents,
            Rules(max_text, _PROFILES[profile], captures_content(capture_content), max_content, title),
            has_gen_ai_metrics=profile == "gen_ai",
            max_spans=max_spans_per_trace,
            tail=tail,
            spool=self._spool,
        )
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._is_inline = self._spool is not None
        self._is_closed = False
        self._warned = False
        self._counted: Outlets | None = None
        self._ended = self._taken = 0
        if self._spool is not None:
            self.on_event = self._build_inline  # a point event has to be there before its parent ends
        self._sigterm = SigtermFlush(self._flush_ended, CLOSE_TIMEOUT_S) if flush_on_sigterm else None
        _handlers.add(self)

    @property
    def path(self) -> str | None:
        """Which way spans are built, and why: ``lean: …``, ``sdk: …``, ``foreign: …`` or ``off: …``.

        ``None`` before the first event, which is when the provider is looked up. A processor that is added to the
        provider later may change it. The logger ``spanloom.handlers.otel`` says the same at level DEBUG.
        """
        return None if self._connection is None else str(self._connection.builder.plan)

    def stats(self) -> ExportCounts:
        """Return what became of the spans that this handler sends by OTLP itself.

        ``exported + dropped + pending == produced`` at every instant, and ``reasons`` says why spans were dropped.
        What goes to exporters of other kinds is theirs to count. The counts outlive `close`.
        """
        return total([] if self._counted is None else self._counted.stats())

    # inline -----------------------------------------------------------------------------------------

    def on_event_start(self, event: Event) -> None:
        """Note what the event inherits, and make its span-to-be current."""
        # The provider is looked up at the roots only: a trace is exported as a whole, or not at all.
        connection = self._connection
        if connection is None and event.parent_id is None:
            connection = self._connect()
        if connection is None:
            return
        starts = connection.starts
        if starts is not None and (starts.wants_every_start or event.parent_id is None):
            starts.opened(event)
        if connection.metrics is not None and event.type == EventType.BATCH:
            connection.metrics.batch_started(event)

    def job_hooks(
        self, batch: Event
    ) -> tuple[Callable[[Event], object] | None, Callable[[Event], object] | None]:
        """Return the hooks for the start and the end of each job of `batch`; a job's context ends with the job."""
        connection = self._connection
        if connection is None:
            return None, self._note_end if self._sigterm is not None else None
        connection.builder.batch_started(batch)
        started = None if connection.starts is None else connection.starts.job_starter(batch)
        if self._is_inline:
            return started, connection.builder.build_one
        return started, self._note_end if self._sigterm is not None else None

    def on_event_end(self, event: Event) -> None:
        """Restore what was current before: the context of an event that is not a job is its caller's.

        With a spool, the span is built and written to disk here: when this returns, it can no longer be lost.
        """
        self._note_end(event)
        connection = self._connection
        if connection is None:
            return
        if self._live_parents:
            detach(event)
        if connection.metrics is not None and event.type == EventType.BATCH:
            connection.metrics.batch_ended(event)

    def on_event_pause(self, event: Event) -> None:
        """Restore what was current before, while a generator is suspended at a ``yield``."""
        if self._live_parents and self._starts() is not None:
            detach(event)

    def on_event_resume(self, event: Event) -> None:
        """Make a generator's span current again, where its body continues."""
        if self._live_parents and (starts := self._starts()) is not None:
            starts.resumed(event)

    def _starts(self) -> SpanStarts | None:
        return None if self._connection is None else self._connection.starts

    def _note_end(self, event: Event) -> None:
        if self._is_inline:
            self._build_inline(event)
        elif self._sigterm is not None:
            self._ended += 1

    def _build_inline(self, event: Event) -> None:
        if not self._is_inline:
            return
        connection = self._connection or self._connect()
        if (
            connection is not None and self._is_inline
        ):  # connecting may have found that there is no use for the spool
            connection.builder.build_one(event)

    # on the drain thread ------------------------------------------------------------------------------

    def on_events(self, events: Sequence[Event]) -> None:
        """Build the spans of ended events, unless that is done already, and record their metrics."""
        connection = self._connection or self._connect()
        if connection is None:
            return
        if self._is_inline:
            connection.outlets.hand_over()
        else:
            for part in connection.outlets.portions(events):
                connection.builder.build(part)
        if self._sigterm is not None:
            self._taken += sum(not event.is_point for event in events)
        if connection.metrics is not None:
            connection.metrics.record(events)

    def flush(self, timeout: float) -> bool:
        """Export what the provider and the pipelines hold.

        Args:
            timeout: Seconds to wait at most. The SDK's own timeout is not kept by its batch processor.

        Returns:
            True if the provider said in time that it has exported everything.
        """
        return self._connection is None or self._connection.flush(timeout)

    def close(self) -> None:
        """Export what is left within 2 s; shut the provider down if it is the handler's own."""
        connection = self._connection
        if connection is None:
            return
        stop = connection.close()
        with self._lock:
            # Added again, it begins anew; a provider that was shut down takes no more spans.
            self._connection = None
        stop()
        self._is_inline = self._spool is not None
        self._is_closed = True
        if self._sigterm is not None:
            self._sigterm.undo()

    def flush_pipelines(self, timeout: float, *, again: bool = True) -> bool:
        """Send ended spans for a provider's flush, without flushing its own processors.

        Args:
            timeout: Seconds to wait at most.
            again: Wait also if the last flush could not send in its time what there was.

        Returns:
            True if the collectors have acknowledged everything in time.
        """
        connection = self._connection
        return connection is None or connection.flush_pipelines(
            timeout, partial(hand_over_to, self), again=again
        )

    # where it all goes ----------------------------------------------------------------------------------

    def _connect(self) -> Connection | None:
        """Connect to the providers, once there are any; return ``None`` until then."""
        with self._lock:
            if self._connection is not None:
                return self._connection
            provider = self._given or global_tracer_provider()
            is_own = provider is None and self._may_export()
            if is_own and names_other_exporters():
                from spanloom.handlers.otel._environment import make_tracer_provider

                provider = make_tracer_provider()
            elif is_own:
                exporter = load_exporter()()
                provider = make_provider(exporter, has_queue=transport_for(exporter) is None)
            if provider is None:
                self._warn()
                return None
            connection = Connection(
                provider,
                is_own=is_own,
                meters=self._given_meters or global_meter_provider(),
                options=self._options,
                version=version(),
            )
            self._counted, self._is_inline = connection.outlets, connection.is_inline
            if self._is_closed and self._sigterm is not None:
                self._is_closed = False
                self._sigterm.redo()
            self._connection = connection
            if not is_own:
                attach(provider, self)
            return connection

    def _may_export(self) -> bool:
        """Return whether spans are exported even without a provider."""
        return endpoint_is_set() or (self._spool is not None and not export_is_off())

    def _flush_ended(self, timeout: float) -> None:
        """Export everything that has ended, also what has not come to this handler's thread yet."""
        deadline = time.monotonic() + timeout
        taken, stuck_at = self._taken, time.monotonic() + HAND_OVER_S
        while self._taken < self._ended and time.monotonic() < min(deadline, stuck_at):
            time.sleep(0.002)
            if taken != self._taken:
                taken, stuck_at = self._taken, time.monotonic() + HAND_OVER_S
        self.flush(max(0.0, deadline - time.monotonic()))

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        if self._connection is not None:
            self._connection.renew()

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning(
                "OpenTelemetryHandler has nowhere to send spans: give it a tracer_provider, set a global one, "
                "or set OTEL_EXPORTER_OTLP_ENDPOINT"
            )


def version() -> str:
    """Return the version of spanloom, which is that of its instrumentation scope; nothing if it is not installed."""
    try:
        return importlib.metadata.version("spanloom")
    except importlib.metadata.PackageNotFoundError:
        return ""


_handlers: weakref.WeakSet[OpenTelemetryHandler] = weakref.WeakSet()


def _after_fork() -> None:
    for handler in list(_handlers):
        handler._after_fork()  # noqa: SLF001 -- of this module


os.register_at_fork(after_in_child=_after_fork)
