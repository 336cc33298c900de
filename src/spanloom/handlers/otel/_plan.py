"""Which way spans are built: the lean one where the result is the same, else the SDK's.

Theory of operation. Between ``start_span`` and the exporter, the SDK runs its own code and plugged-in code of others.
The lean way skips the SDK's, so it is taken only where no plugged-in code would notice:

* the tracer is the SDK's own, switched on, not patched, and does not count its spans for the SDK's internal metrics;
* the sampler says of a span what it said of its root (those that ``OTEL_TRACES_SAMPLER`` can name do);
* every processor is exactly the SDK's ``SimpleSpanProcessor`` or ``BatchSpanProcessor``, also inside its
  ``SynchronousMultiSpanProcessor`` or ``ConcurrentMultiSpanProcessor``: their ``on_start`` and ``_on_ending`` do
  nothing, and their ``on_end`` wants a ``ReadableSpan``, which it gets. Ours (`Attached`) ignores spans.

Span limits are no hindrance: the lean way keeps them. Nor is the id generator: it is asked for the ids of traces, and
spans have the events' ids, either way. Whatever is not known to be harmless is a reason to take the SDK's way. A
processor may be added at any time, so the handler looks anew at every list of events; that costs a few microseconds a
list.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
)
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import NoOpTracer, Tracer

from spanloom.handlers.otel._attached import Attached

__all__ = ["Plan", "exporter_of", "is_otlp", "look_at"]

_MULTI: Final = (SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor)
_PLAIN: Final = (BatchSpanProcessor, SimpleSpanProcessor)
_HOOKS: Final = frozenset({"on_start", "_on_ending", "on_end"})
_OTLP: Final = frozenset(
    {
        ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "OTLPSpanExporter"),
        ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "OTLPSpanExporter"),
    }
)
"""By name: neither package has to be installed."""


class Plan(NamedTuple):
    """How the spans of one list of events are built.

    Attributes:
        way: ``lean``; ``sdk``: by the SDK's own ``start_span`` and ``end``; ``foreign``: by another implementation's
            tracer, at the start of each event; ``off``: not at all, because the SDK is disabled.
        reason: Why, in a few words.
        processors: The leaves of the provider's tree of processors, in the order in which they are called.
    """

    way: Literal["lean", "sdk", "foreign", "off"]
    reason: str
    processors: tuple[SpanProcessor, ...] = ()

    def __str__(self) -> str:
        return f"{self.way}: {self.reason}"


def look_at(tracer: Tracer, *, follows_root: bool) -> Plan:
    """Return how the spans of `tracer` are to be built.

    Args:
        tracer: From the provider.
        follows_root: Whether its sampler says of every span of a trace what it said of the root.
    """
    if type(tracer) is NoOpTracer:
        return Plan("off", "the provider gives tracers that do nothing")
    if not isinstance(tracer, SdkTracer):
        return Plan("foreign", f"{_name(tracer)} is not the SDK's tracer")
    processors = tuple(_leaves(tracer.span_processor))
    hindrance = _of_tracer(tracer) or _of_processors(processors)
    if hindrance is None and not follows_root:
        hindrance = f"the sampler {_name(tracer.sampler)} is asked about every span"
    if hindrance is not None:
        return Plan("sdk", hindrance, processors)
    return Plan("lean", "the processors only pass finished spans on", processors)


def exporter_of(processor: SpanProcessor) -> SpanExporter | None:
    """Return where a plain processor sends its spans; ``None`` if it is no plain one."""
    return getattr(processor, "span_exporter", None) if type(processor) in _PLAIN else None


def is_otlp(exporter: SpanExporter | None) -> bool:
    """Return whether `exporter` is exactly one of the SDK's OTLP exporters: no subclass, ``export`` not replaced."""
    kind = type(exporter)
    return (kind.__module__, kind.__qualname__) in _OTLP and "export" not in vars(exporter)


def _leaves(processor: SpanProcessor) -> Iterator[SpanProcessor]:
    children = getattr(processor, "_span_processors", None)
    if type(processor) in _MULTI and children is not None and not _HOOKS & vars(processor).keys():
        for child in children:
            yield from _leaves(child)
    elif type(processor) is not Attached:
        yield processor


def _of_tracer(tracer: SdkTracer) -> str | None:
    if type(tracer) is not SdkTracer:
        return f"{_name(tracer)} is not exactly the SDK's tracer"
    if "start_span" in vars(tracer) or hasattr(SdkTracer.start_span, "__wrapped__"):
        return "start_span of the tracer is patched"
    is_enabled = getattr(tracer, "_is_enabled", None)
    if is_enabled is not None and not is_enabled():
        return "the tracer is switched off by its configuration"
    metrics = getattr(tracer, "_tracer_metrics", None)
    if metrics is not None and type(metrics).__name__ != "NoOpTracerMetrics":
        return "the SDK's internal metrics count its spans"
    return None


def _of_processors(processors: tuple[SpanProcessor, ...]) -> str | None:
    for processor in processors:
        if type(processor) not in _PLAIN:
            return f"the processor {_name(processor)} may look at spans while they are open, or change them"
        if _HOOKS & vars(processor).keys():
            return f"a method of a {_name(processor)} is replaced"
    return None


def _name(thing: object) -> str:
    return type(thing).__name__
