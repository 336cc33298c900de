"""A recorded run as OpenTelemetry spans: sent to a collector, or as lines that one reads from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from spanloom.handlers.otel.replay import JsonLines, SpanReplay, exporter_to
from spanloom.store.model import Record, Run
from spanloom.viewer.replay import replay

__all__ = ["Sent", "send_otlp", "write_otlp"]


class Sent(NamedTuple):
    """What became of a run.

    Attributes:
        spans: Spans that were written, or that the collector has acknowledged.
        left_open: Events that have no span because they have not ended: the run is still running.
    """

    spans: int
    left_open: int


def write_otlp(run: Run, records: Iterable[Record], write: Callable[[bytes], object]) -> Sent:
    """Write a run as OTLP/JSON lines, as the Collector's ``otlpjsonfile`` receiver reads them.

    Each line is one ``ExportTraceServiceRequest`` of about a quarter of a mebibyte. The spans are those that
    `OpenTelemetryHandler` exports of the same events, ids included.

    Args:
        run: Whose records they are.
        records: In the order of their starts; read once, as the lines are written.
        write: Takes a line, its line break included.

    Raises:
        ExportError: ``OTEL_SDK_DISABLED`` is set.
    """
    lines = JsonLines(write)
    with SpanReplay(lines, _about(run)) as spans:
        left_open = replay(run, records, spans)
        spans.finish()
    return Sent(lines.written, left_open)


def send_otlp(
    run: Run,
    records: Iterable[Record],
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    timeout_s: float = 30.0,
    tell: Callable[[str], object] | None = None,
) -> Sent:
    """Send a run to a collector, or to Jaeger, by OTLP.

    Sent again, its spans have the ids that they had before: a backend that keeps a span by its id has it once.

    Args:
        run: Whose records they are.
        records: In the order of their starts; read once, as the spans are sent.
        endpoint: As in ``OTEL_EXPORTER_OTLP_ENDPOINT``; ``None`` for what the environment says. So do headers,
            certificates and compression.
        protocol: ``http/protobuf`` or ``grpc``; ``None`` for what the environment says, or the former.
        timeout_s: Seconds after which a collector that takes nothing more is given up.
        tell: Is told once, in words, what is waited for, if the collector takes nothing for a second.

    Raises:
        ExportError: the collector did not take all of it; the message says how much. Or there is no endpoint.
        MissingDependencyError: the exporter's package is not installed.
        ValueError: there is no such protocol.
    """
    with SpanReplay(exporter_to(endpoint, protocol), _about(run), timeout_s=timeout_s, tell=tell) as spans:
        left_open = replay(run, records, spans)
        counts = spans.finish()
    return Sent(counts.exported, left_open)


def _about(run: Run) -> dict[str, str | int]:
    """Return what the resource of its spans says of a run: the SDK's words for it, and its id in the record."""
    return {
        "service.name": run.name,
        "service.instance.id": run.run_id,  # the same each time that it is exported
        "host.name": run.host,
        "process.pid": run.pid,
        "process.runtime.name": "cpython",
        "process.runtime.version": run.python,
        "spanloom.run.id": run.run_id,
    }
