"""Spans and metrics of events, by OpenTelemetry."""

from spanloom.handlers.otel._configure import Configuration, configure
from spanloom.handlers.otel._counts import ExportCounts
from spanloom.handlers.otel._genai import SEMCONV_GEN_AI
from spanloom.handlers.otel._handler import OpenTelemetryHandler
from spanloom.handlers.otel._openinference import SEMCONV_OPENINFERENCE
from spanloom.handlers.otel._remote import RemoteParent, inject, inject_environment, remote_parent
from spanloom.handlers.otel._tail import TailPolicy

__all__ = [
    "SEMCONV_GEN_AI",
    "SEMCONV_OPENINFERENCE",
    "Configuration",
    "ExportCounts",
    "OpenTelemetryHandler",
    "RemoteParent",
    "TailPolicy",
    "configure",
    "inject",
    "inject_environment",
    "remote_parent",
]
