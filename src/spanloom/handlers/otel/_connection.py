"""The connection of a handler to one provider: the parts that build and export its spans and metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import TracerProvider

from spanloom.handlers.otel._build import SpanBuilder
from spanloom.handlers.otel._genai_metrics import GenAiMetrics
from spanloom.handlers.otel._metrics import EventMetrics
from spanloom.handlers.otel._outlets import Outlets, Pipe
from spanloom.handlers.otel._pipeline import open_pipeline, transport_for
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._remote import environment_parent
from spanloom.handlers.otel._setup import Helper
from spanloom.handlers.otel._spool_options import SpoolOptions
from spanloom.handlers.otel._starts import SpanStarts
from spanloom.handlers.otel._tail import TailPolicy

__all__ = ["CLOSE_TIMEOUT_S", "Connection", "SpanOptions"]

_logger = logging.getLogger("spanloom.handlers.otel")

CLOSE_TIMEOUT_S: Final = 2.0
"""Seconds that `close` waits for the exporter: the time that all handlers together have at the end of the process."""


class SpanOptions(NamedTuple):
    """Options for spans; see the handler's docstring."""

    live_parents: bool
    rules: Rules
    has_gen_ai_metrics: bool
    max_spans: int | None
    tail: TailPolicy | None
    spool: SpoolOptions | None


class Connection:
    """One provider, and the parts of the handler that serve it, from its first event until it is closed.

    Args:
        provider: Where spans go.
        is_own: Whether it is the handler's own, to be shut down with it.
        meters: Where metrics go; ``None`` for nowhere.
        options: How spans are wanted.
        version: That of the instrumentation scope.

    Attributes:
        starts: Notes from the start of events; ``None`` where the SDK is disabled: nothing is noted or made current.
        builder: Builds the spans.
        outlets: Where finished spans go.
        metrics: The metrics.
        is_stuck: Whether the last flush could not export everything in its time.
        is_inline: Whether spans are built where their events end, for a spool.
    """

    def __init__(
        self,
        provider: TracerProvider,
        *,
        is_own: bool,
        meters: MeterProvider | None,
        options: SpanOptions,
        version: str,
    ) -> None:
        tracer = provider.get_tracer("spanloom", version)
        starts = SpanStarts(
            tracer,
            live=options.live_parents,
            rules=options.rules,
            remote=environment_parent(),
            max_spans=options.max_spans,
            is_sifted=options.tail is not None,
        )
        self._provider = provider
        self._is_own = is_own
        self._spool = options.spool
        self._pipes = 0
        self.is_stuck: bool = False
        self.outlets: Outlets = Outlets(self._open_pipe, getattr(provider, "force_flush", lambda: None))
        self.builder: SpanBuilder = SpanBuilder(
            tracer, starts, self.outlets, rules=options.rules, tail=options.tail
        )
        self.starts: SpanStarts | None = None if self.builder.plan.way == "off" else starts
        self.is_inline: bool = options.spool is not None and bool(self.outlets.pipes)
        self.outlets.is_deferring = self.is_inline
        if options.spool is not None and not self.is_inline:
            _logger.warning(
                "spool= has no effect: the tracer provider sends nothing by the SDK's OTLP exporter"
            )
        more = partial(GenAiMetrics, options.rules) if options.has_gen_ai_metrics else None
        self.metrics: EventMetrics | None = None if meters is None else EventMetrics(meters, version, more)
        self._helper = Helper("spanloom-otel-flush")

    def flush(self, timeout: float) -> bool:
        """Export what the provider and the pipelines hold; return True if they confirmed that in time.

        Args:
            timeout: Seconds to wait at most. The SDK's own timeout is not kept by its batch processor.
        """
        deadline = time.monotonic() + timeout
        self.outlets.hurry()  # before anything is waited for: all have the whole time, side by side
        is_exported = self._begin_export(timeout)(timeout) is True
        self.is_stuck = not is_exported and time.monotonic() >= deadline
        return self.outlets.flush(max(0.0, deadline - time.monotonic())) and is_exported

    def flush_pipelines(self, timeout: float, hand_over: Callable[[float], bool], *, again: bool) -> bool:
        """Send ended spans, but do not flush the provider's own processors; return True if all have arrived in time.

        Args:
            timeout: Seconds to wait at most.
            hand_over: Waits for up to that many seconds for the events that are on their way to the handler.
            again: Wait even if the last flush could not send everything in its time.
        """
        if self._helper.is_current:  # our own flush has asked the provider
            return True
        if not again and (self.is_stuck or self.outlets.is_stuck):
            return False
        deadline = time.monotonic() + timeout
        is_handed_over = hand_over(timeout)
        self.outlets.hand_over()
        return self.outlets.flush(max(0.0, deadline - time.monotonic())) and is_handed_over

    def close(self) -> Callable[[], None]:
        """Export what is left within `CLOSE_TIMEOUT_S`, and shut the provider down if it is the handler's own.

        Returns:
            A function that stops the exporting thread; call it when no more events come to this connection.
        """
        helper = self._helper_of_this_process()
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        self.builder.build_rest()
        exported = self._begin_export(CLOSE_TIMEOUT_S) if self.outlets.holds_some else None
        self.outlets.close(max(0.0, deadline - time.monotonic()))
        # What the last flush could not export in its time, waiting again would not export either.
        patience_s = 0.0 if self.is_stuck else max(0.0, deadline - time.monotonic())
        if exported is not None:
            exported(patience_s)
        shutdown = getattr(self._provider, "shutdown", None) if self._is_own else None
        if shutdown is not None:
            helper.call(shutdown, min(patience_s, max(0.0, deadline - time.monotonic())))
        return helper.stop

    def renew(self) -> None:
        """Start afresh in a forked child: threads, and spans that wait for them, are the parent's."""
        self.is_stuck = False
        self.outlets.renew()
        if self.metrics is not None:
            self.metrics.renew()

    def _begin_export(self, timeout: float) -> Callable[[float], object]:
        """Start an export of what the provider holds; return a function that waits for it, and returns True if done."""
        force_flush = getattr(self._provider, "force_flush", None)  # of the SDK, not of the API
        outlets = self.outlets

        def export() -> object:
            outlets.hand_over()
            outlets.flushed()
            return force_flush is None or force_flush(int(timeout * 1000))

        return self._helper_of_this_process().begin(export)

    def _open_pipe(self, exporter: SpanExporter) -> Pipe | None:
        """Return a pipeline of our own in place of `exporter`, one of the SDK's OTLP exporters."""
        if transport_for(exporter) is None:
            return None
        spool = None if self._spool is None else self._spool.part(self._pipes)
        self._pipes += 1
        return open_pipeline(exporter, spool=spool)

    def _helper_of_this_process(self) -> Helper:
        if not self._helper.is_ours:
            self._helper = Helper("spanloom-otel-flush")
        return self._helper
