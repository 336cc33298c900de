"""From encoded spans to a collector: loses as few as possible, and counts those that are lost.

Theory of operation. `put` appends frames to a store (memory, or segments on disk) and returns. One thread takes
them from there, makes requests of them and has a transport send these, for as long as it takes. What the collector
has acknowledged is forgotten; what it refuses, or what there is no room for, is dropped and counted by reason.
A pipeline belongs to the process that made it; a forked child begins anew, with nothing in it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from spanloom.handlers.otel._counts import ExportCounts, Ledger
from spanloom.handlers.otel._frame import Envelope
from spanloom.handlers.otel._memory import MemoryStore
from spanloom.handlers.otel._schedule import Schedule
from spanloom.handlers.otel._sender import Sender
from spanloom.handlers.otel._setup import load_exporter
from spanloom.handlers.otel._spool_options import SpoolOptions
from spanloom.handlers.otel._store import Store
from spanloom.handlers.otel._transport import Transport

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["CLOSE_TIMEOUT_S", "Pipeline", "open_pipeline", "transport_for"]

_logger = logging.getLogger("spanloom.handlers.otel")

CLOSE_TIMEOUT_S: Final = 2.0
"""Seconds that a close may take: what the end of the process allows all handlers together."""
MORE: Final = 8
"""Spans that may come with those of a list of events: the roots of shards that it completes."""
MAX_WAIT_S: Final = 10.0
ROOM_STEP_S: Final = 0.002
ABORT_S: Final = 0.1
"""Seconds of these that are reserved for aborting a request."""


class Pipeline:
    """Sends encoded spans to one collector.

    Args:
        transport: The way there.
        store: Where spans wait.
        ledger: The accounts that `store` keeps.
        schedule: When and how much to send; ``None`` for what the environment says.
    """

    def __init__(
        self, transport: Transport, store: Store, ledger: Ledger, schedule: Schedule | None = None
    ) -> None:
        self._transport = transport
        self._store = store
        self._ledger = ledger
        self._schedule = schedule or Schedule.from_environment()
        self._begin()
        _pipelines.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._sender = Sender(self._transport, self._store, self._ledger, self._schedule)
        self._dropped_before = 0
        self._closed: bool | None = None

    def put(self, envelope: Envelope, frames: Sequence[bytes]) -> None:
        """Queue encoded spans for sending. Safe from any thread; never waits for the network.

        Args:
            envelope: What the spans have in common; the same object for many calls is best.
            frames: The spans. The sequence must not be changed afterwards.
        """
        if not frames:
            return
        store, sender = self._store, self._sender
        store.put(envelope, frames)
        if sender.is_parked:
            sender.start()
            sender.wake.set()
        elif store.waiting >= self._schedule.eager_spans and not (sender.is_sending or sender.wake.is_set()):
            sender.wake.set()
        if not store.is_durable:
            sender.help_if_crowded()

    @property
    def portion(self) -> int | None:
        """How many spans are best put at once, so that there is room for them; ``None`` for any number."""
        most = None if self._store.is_durable else self._schedule.max_waiting
        return None if most is None else max(1, most // 2 - MORE)

    def make_room(self, count: int) -> None:
        """Wait until `count` more spans have room, for as long as the collector takes what is there.

        Not on a thread of user code's. Not for a collector that fails, or has been silent for 2 s, and not with a
        spool, which has room.
        """
        sender, until = self._sender, time.monotonic() + MAX_WAIT_S
        while not self._store.has_room_for(count + MORE) and sender.is_moving and time.monotonic() < until:
            sender.want_room()
            time.sleep(ROOM_STEP_S)

    @property
    def trouble(self) -> str:
        """Why the collector has taken nothing of what it was sent last; nothing if it has, or has not answered yet."""
        return self._sender.trouble

    def start(self) -> None:
        """Start the thread now: the first span may come at the end of the process, when no thread can be started."""
        self._sender.start()

    def hurry(self) -> None:
        """Send everything that was put before this call without delay; does not wait."""
        target, _ = self._ledger.own
        self._sender.hurry(target)

    def flush(self, timeout: float) -> bool:
        """Send everything that was put before this call.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            True only if the collector has acknowledged all of it, and nothing was lost since the last flush.
        """
        target, _ = self._ledger.own
        self._sender.hurry(target)
        is_settled = self._ledger.wait(target, self._store.holds_any_of, timeout)
        _, dropped = self._ledger.own
        is_complete = dropped == self._dropped_before
        self._dropped_before = dropped
        return is_settled and is_complete

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> bool:
        """Send what is there and end the thread, within `timeout` s whatever the collector does.

        What is then left is kept in the spool, if there is one. Otherwise it is dropped, counted, and logged once.

        Returns:
            True only if nothing that was put has been lost or left.
        """
        with self._lock:
            if self._closed is None:
                self._closed = self._close(time.monotonic() + timeout)
            return self._closed

    def _close(self, deadline: float) -> bool:
        sender = self._sender
        grace_s = min(ABORT_S, max(0.0, deadline - time.monotonic()) / 2)
        sender.stop(deadline - grace_s)
        if not sender.join(deadline - grace_s - time.monotonic()):
            self._transport.abort()
            sender.join(deadline - time.monotonic())
            self._store.stop()
        counts = self._ledger.counts()
        if counts.dropped:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(counts.reasons.items()))
            _logger.warning("%d of %d spans were lost (%s)", counts.dropped, counts.produced, reasons)
        if counts.pending:
            _logger.warning("%d spans are left in the spool, for the next process to send", counts.pending)
        return not counts.dropped and not counts.pending

    def stats(self) -> ExportCounts:
        """Return what became of all spans so far."""
        return self._ledger.counts()

    def _after_fork(self) -> None:
        self._ledger.renew()
        self._store.renew()
        self._transport.renew()
        self._begin()


def transport_for(exporter: SpanExporter) -> Transport | None:
    """Return a way to send bytes as `exporter` would; ``None`` if it cannot be told how it does.

    That is possible for the SDK's own two OTLP exporters, not for classes derived from them.
    """
    kind = type(exporter)
    if kind.__name__ != "OTLPSpanExporter":
        return None
    if kind.__module__ == "opentelemetry.exporter.otlp.proto.http.trace_exporter":
        from spanloom.handlers.otel._transport_http import http_transport

        return http_transport(exporter)
    if kind.__module__ == "opentelemetry.exporter.otlp.proto.grpc.trace_exporter":
        from spanloom.handlers.otel._transport_grpc import grpc_transport

        return grpc_transport(exporter)
    return None


def open_pipeline(
    exporter: SpanExporter | None = None,
    *,
    spool: SpoolOptions | None = None,
) -> Pipeline:
    """Return a pipeline to where `exporter` sends.

    Args:
        exporter: One of the SDK's two OTLP exporters: its endpoint, headers, certificates, timeout and compression
            are used. ``None`` for one that is configured by the environment.
        spool: Where on disk to keep spans until they are sent; ``None`` to keep them in memory.

    Raises:
        MissingDependencyError: `exporter` is ``None``, and the one that the environment names is not installed.
        TypeError: `exporter` is of a class that bytes cannot be sent through.
        ValueError: the environment names an unknown OTLP protocol.
    """
    if exporter is None:
        exporter = load_exporter()()
    transport = transport_for(exporter)
    if transport is None:
        raise TypeError(
            f"spans can be sent through the OpenTelemetry SDK's own OTLPSpanExporter, not through "
            f"{type(exporter).__module__}.{type(exporter).__qualname__}"
        )
    ledger, schedule = Ledger(), Schedule.from_environment()
    memory = MemoryStore(ledger, max_spans=schedule.max_waiting)
    store: Store = memory
    if spool is not None:
        from spanloom.handlers.otel._spool import SpoolStore

        store = SpoolStore(spool, ledger, memory)
    pipeline = Pipeline(transport, store, ledger, schedule)
    pipeline.start()
    return pipeline


_pipelines: weakref.WeakSet[Pipeline] = weakref.WeakSet()


def _after_fork() -> None:
    for pipeline in list(_pipelines):
        pipeline._after_fork()  # noqa: SLF001 -- of this module


os.register_at_fork(after_in_child=_after_fork)
