"""When and how much to send: the ``OTEL_BSP_*`` variables, as they apply to a pipeline that loses nothing."""

from __future__ import annotations

import logging
import os
from typing import Final, NamedTuple

__all__ = ["STEADY_S", "Schedule"]

_logger = logging.getLogger("spanloom.handlers.otel")

MAX_SPANS: Final = 1 << 20
"""Spans of a request when nobody set a number: the bytes are the bound."""
MAX_BODY: Final = 3 << 20
"""Bytes of a request: gRPC servers take 4 MiB unless told otherwise, and a collector behind one is the usual case."""
EAGER_SPANS: Final = 8192
"""Spans that are worth a request at once, some 1.5 MB: a request costs 1 ms of CPU, whatever is in it."""
STEADY_SPANS: Final = 512
"""Spans that are worth a request every `STEADY_S`: the SDK's default of ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE``."""
STEADY_S: Final = 0.25
"""Seconds between two requests that nobody is in a hurry for: with 1 ms of CPU for each, less than half a percent."""


class Schedule(NamedTuple):
    """The pace of a pipeline.

    Attributes:
        delay_s: ``OTEL_BSP_SCHEDULE_DELAY`` (ms; 5 s): longest time that a span waits for others to be sent with it.
        max_spans: ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE``: spans of one request. If it is not set, as many as `MAX_BODY`
            holds: with one request under way at a time, small ones would make the collector's latency the bound
            of the throughput, which is how the SDK's processor loses spans.
        eager_spans: Spans that are sent at once: `EAGER_SPANS`, or `max_spans`, or half of `max_waiting`, whichever is
            least. So the other half has room for what comes until the sender has taken the first.
        steady_spans: Spans that are sent without waiting for `delay_s` if the last request is `STEADY_S` old. What a
            SIGKILL can take is what came in that time, and not what came in `delay_s`.
        max_waiting: ``OTEL_BSP_MAX_QUEUE_SIZE``: spans that wait in memory. If it is not set, memory is bounded by
            bytes alone. It does not bound a spool.
        timeout_s: ``OTEL_BSP_EXPORT_TIMEOUT`` (ms; 30 s): how long a request may take. The exporter's own timeout
            applies as well; the shorter one counts.
    """

    delay_s: float = 5.0
    max_spans: int = MAX_SPANS
    eager_spans: int = EAGER_SPANS
    steady_spans: int = STEADY_SPANS
    max_waiting: int | None = None
    timeout_s: float = 30.0

    @classmethod
    def from_environment(cls) -> Schedule:
        """Return what the environment says; a variable that makes no sense is logged and left out."""
        delay_ms = _number("OTEL_BSP_SCHEDULE_DELAY", minimum=0)
        max_spans = _number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", minimum=1)
        timeout_ms = _number("OTEL_BSP_EXPORT_TIMEOUT", minimum=1)
        max_waiting = _number("OTEL_BSP_MAX_QUEUE_SIZE", minimum=1)
        default = cls()
        eager_spans = min(max_spans or default.eager_spans, default.eager_spans)
        if max_waiting is not None:
            eager_spans = min(eager_spans, max(1, max_waiting // 2))
        return cls(
            delay_s=default.delay_s if delay_ms is None else delay_ms / 1000,
            max_spans=max_spans or default.max_spans,
            eager_spans=eager_spans,
            steady_spans=min(eager_spans, default.steady_spans),
            max_waiting=max_waiting,
            timeout_s=default.timeout_s if timeout_ms is None else timeout_ms / 1000,
        )


def _number(name: str, *, minimum: int) -> int | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = minimum - 1
    if number < minimum:
        _logger.warning("%s is %r; it must be a whole number, at least %d", name, text, minimum)
        return None
    return number
