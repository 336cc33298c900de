"""Flushing of spans that bypass a provider's processors, with the provider's own ``force_flush`` and ``shutdown``.

Theory of operation. Spans for an OTLP exporter bypass the provider: they go from the handler's thread to a pipeline. So
that a program which flushes its provider has them sent, too, the provider gets one processor that ignores the starts
and ends of spans, and flushes our handlers when it is flushed. It comes first: spans that are built meanwhile reach the
processors after it before these are flushed or shut down.

A handler's own flush has the provider export, on a thread of its own, and comes back here. There is nothing to do then.
"""

from __future__ import annotations

import time
import weakref
from typing import Final, Protocol

from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.trace import TracerProvider as AnyTracerProvider

__all__ = ["Attached", "attach"]

SHUTDOWN_TIMEOUT_S: Final = 2.0
"""Seconds that a shutdown waits: as long as the end of the process."""
SHARE: Final = 0.5
"""Share of a flush's time that we may take; the rest is for the processors that come after."""


class Flushed(Protocol):
    """The part of a handler that a provider needs."""

    def flush_pipelines(self, timeout: float, *, again: bool = True) -> bool:
        """Send what has ended within `timeout` s, and return True if it has arrived.

        Args:
            timeout: Seconds to wait.
            again: Wait even if the last flush could not send everything in its time.
        """
        ...


class Attached(SpanProcessor):
    """Flushes the handlers of one provider with it. Keeps none of them alive."""

    def __init__(self) -> None:
        self.handlers: weakref.WeakSet[Flushed] = weakref.WeakSet()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send the spans that bypass the provider; return True if they have arrived."""
        deadline = time.monotonic() + timeout_millis / 1e3 * SHARE
        done = True
        for handler in list(self.handlers):
            done &= handler.flush_pipelines(max(0.0, deadline - time.monotonic()))
        return done

    def shutdown(self) -> None:
        """Send what there is. Pipelines stay open, and send spans that end later."""
        for handler in list(self.handlers):
            handler.flush_pipelines(SHUTDOWN_TIMEOUT_S, again=False)


def attach(provider: AnyTracerProvider, handler: Flushed) -> None:
    """Flush and shut down `handler` with `provider`, if that is the SDK's and calls its processors in turn.

    Args:
        provider: Gets one processor, however many handlers it has.
        handler: Not kept alive by it.
    """
    if not isinstance(provider, TracerProvider):
        return
    processors = getattr(provider, "_active_span_processor", None)
    if type(processors) is not SynchronousMultiSpanProcessor:
        return
    with processors._lock:  # noqa: SLF001 -- the public way in is at the end, see above
        inside = processors._span_processors  # noqa: SLF001 -- the same
        first = inside[0] if inside else None
        if not isinstance(first, Attached):
            first = Attached()
            processors._span_processors = (first, *inside)  # noqa: SLF001 -- the same
        first.handlers.add(handler)
