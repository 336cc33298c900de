"""A snapshot of the span of an open event, for code that reads the current span.

The SDK's open spans can be read: processors copy what a parent has to its children, middleware looks for what it has
set. So a stand-in can be, too; what is read is put together when somebody asks, from what is known of the event.
"""

from __future__ import annotations

from typing import Final

from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import SamplingResult
from opentelemetry.trace import SpanContext

from spanloom.events import Event
from spanloom.handlers.otel._attributes import start_attributes, title_of
from spanloom.handlers.otel._draft import Draft, Origin
from spanloom.handlers.otel._finish import repeat
from spanloom.handlers.otel._profiles import Rules
from spanloom.handlers.otel._traces import Note

__all__ = ["READABLE", "unfinished"]

READABLE: Final = frozenset(name for name in dir(ReadableSpan) if not name.startswith("_"))
"""What can be read of the SDK's spans."""


def unfinished(
    event: Event,
    tracer: SdkTracer,
    known: SpanContext,
    above: Context,
    result: SamplingResult | None,
    note: Note | None,
    rules: Rules,
) -> ReadableSpan:
    """Return a snapshot of the span of an open event; it does not change any more.

    Args:
        event: An open event.
        tracer: Will make its span.
        known: The span's context.
        above: The context whose current span is its parent.
        result: What the sampler said of it; ``None`` if it was not asked.
        note: What user code did to it.
        rules: What is recorded of payloads.
    """
    name, kind = title_of(event, rules)
    parent = trace_api.get_current_span(above).get_span_context()
    attributes = dict(start_attributes(event, rules))
    if result is not None and result.attributes:
        attributes = {**result.attributes, **attributes}
    draft = Draft(
        Origin(tracer),
        name,
        known,
        parent if parent.is_valid else None,
        event.start_wall_ns,
        attributes,
        kind,
    )
    if note is not None and note.calls is not None:
        repeat(draft, tuple(note.calls))
    return draft.end(None)
