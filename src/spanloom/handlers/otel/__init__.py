"""Spans and metrics of events, by OpenTelemetry."""

from spanloom.handlers.otel._handler import OpenTelemetryHandler

__all__ = ["OpenTelemetryHandler"]
