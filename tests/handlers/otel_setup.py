"""A manager whose spans end in memory, and what to ask a span."""

from __future__ import annotations

import asyncio
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.handlers.otel import OpenTelemetryHandler


class Setup:
    """A manager whose spans end in memory."""

    def __init__(self, sampler: Sampler | None = None, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("user")
        self.handler = OpenTelemetryHandler(self.provider, **options)
        self.manager = CallbackManager([self.handler], raise_handler_errors=True)

    def run(self, coroutine: Any) -> Any:
        with use_callback_manager(self.manager):
            return asyncio.run(coroutine)

    def spans(self) -> list[ReadableSpan]:
        assert self.manager.flush(5)
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans() if span.name == name]

    def span(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id
