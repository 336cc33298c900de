"""OTLP/gRPC, on a channel made as the SDK's exporter makes its own.

Endpoint, credentials, headers, compression and channel options are read off the exporter. The channel is our own,
so that it can be closed when it has lost its peer, and made anew in a forked child, without the exporter noticing.
Older exporters (1.27, say) do not keep what is needed for that; there, the exporter's own channel is used.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from spanloom.handlers.otel._transport import Reply, Verdict, one_line

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["GrpcTransport", "grpc_transport"]

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""OTLP specification 1.x, "Failures"; RESOURCE_EXHAUSTED as well, if the server says when it will have recovered."""
_SETTINGS: Final = operator.attrgetter(
    "_endpoint", "_insecure", "_credentials", "_channel_options", "_compression", "_headers", "_timeout"
)
_OLD_SETTINGS: Final = operator.attrgetter("_client", "_headers", "_timeout")
MAX_BODY: Final = 64 << 20


class _Connection(NamedTuple):
    """A channel, as it is used here.

    Attributes:
        begin: Begins a call with a request's bytes, and returns its future.
        close: Closes it.
    """

    begin: Callable[..., Any]  # the futures of gRPC have no types
    call: Callable[..., Any]  # the same, but waits
    close: Callable[[], None]


class _BrokenOffError(Exception):
    """A call was ended here, not by its server: it was cancelled, or its channel was closed."""


class GrpcTransport:
    """Calls one service.

    Args:
        connect: Makes a connection.
        headers: Metadata of each call.
        timeout_s: How long one call may take.
        retryable: Status codes that are worth another try.
        max_body: Bytes of the largest request.
        metrics: The exporter's own, a context manager around each export; ``None`` if it has none.
    """

    def __init__(
        self,
        connect: Callable[[], _Connection],
        headers: tuple[tuple[str, str], ...],
        *,
        timeout_s: float,
        retryable: frozenset[grpc.StatusCode] = RETRYABLE,
        max_body: int = MAX_BODY,
        metrics: Any = None,
    ) -> None:
        self.timeout_s = timeout_s
        self.max_body = max_body
        self._connect = connect
        self._headers = headers
        self._retryable = retryable
        self._metrics = metrics
        self.renew()

    def renew(self) -> None:
        """Use a channel of this process only; made at the first call, since gRPC starts threads with it."""
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._calls: set[Any] = set()

    def send(self, body: bytes, *, spans: int, timeout_s: float) -> Reply:
        """Call the service; every failure is returned as a reply."""
        with self._metrics.export_operation(spans) if self._metrics is not None else nullcontext() as result:
            try:
                answer = self._export(body, timeout_s)
            except grpc.RpcError as error:
                if result is not None:
                    result.error = error
                return self._judge(error)
            except _BrokenOffError as error:
                if result is not None:
                    result.error = error
                return Reply(Verdict.RETRY, "broken off")
        try:
            partial = ExportTraceServiceResponse.FromString(answer).partial_success
        except DecodeError:
            return Reply(Verdict.ACCEPTED)
        rejected = max(0, partial.rejected_spans)
        return Reply(
            Verdict.ACCEPTED, "rejected by the collector", one_line(partial.error_message), rejected=rejected
        )

    def abort(self) -> None:
        """Cancel the calls that are under way."""
        for call in list(self._calls):
            call.cancel()

    def close(self) -> None:
        """Close the channel."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _export(self, body: bytes, timeout_s: float) -> bytes:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
        if not threading.main_thread().is_alive():
            # The interpreter is ending and, from Python 3.12 on, starts no thread: a future of gRPC's wants one of its
            # own, and fails when the request is on its way.
            return _bytes_of(self._wait_for(connection, body, timeout_s))
        try:
            call = connection.begin(body, timeout=timeout_s, metadata=self._headers)
        except ValueError as error:
            if connection is self._connection:
                raise  # headers, say, that no call can be made with
            raise _BrokenOffError from error  # another thread has closed the channel just now
        self._calls.add(call)
        try:
            return _bytes_of(call.result())
        except grpc.FutureCancelledError as error:
            raise _BrokenOffError from error
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.CANCELLED and connection is not self._connection:
                raise _BrokenOffError from error
            if code is grpc.StatusCode.UNAVAILABLE:
                self._give_up(connection)
            raise
        finally:
            self._calls.discard(call)

    def _wait_for(
        self, connection: _Connection, body: bytes, timeout_s: float
    ) -> bytes | ExportTraceServiceResponse:
        """Return the answer to a call that cannot be aborted before its timeout."""
        answer: bytes | ExportTraceServiceResponse = connection.call(
            body, timeout=timeout_s, metadata=self._headers
        )
        return answer

    def _give_up(self, connection: _Connection) -> None:
        """Close a channel that has lost its peer: it would pause for up to two minutes before it looks again.

        Only that one. Another thread may have done so before, and be connected again by now.
        """
        with self._lock:
            if self._connection is not connection:
                return
            self._connection = None
        connection.close()

    def _judge(self, error: grpc.RpcError) -> Reply:
        code = error.code()
        message = one_line(error.details() or "")
        reason = f"grpc {code.name}"
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            pause_s = _retry_delay(error)
            if pause_s is not None:
                return Reply(Verdict.RETRY, reason, message, retry_after_s=pause_s)
            if "larger than max" in message:  # what gRPC itself says of a message; there is no code for it
                return Reply(Verdict.TOO_LARGE, "too large", message)
        if code in self._retryable:
            return Reply(Verdict.RETRY, reason, message, retry_after_s=_retry_delay(error))
        return Reply(Verdict.REFUSED, reason, message)


def _bytes_of(answer: bytes | ExportTraceServiceResponse) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def grpc_transport(exporter: SpanExporter) -> GrpcTransport | None:
    """Return a transport to where `exporter` sends; ``None`` if it keeps its settings in an unknown way."""
    try:
        endpoint, insecure, credentials, options, compression, headers, timeout_s = _SETTINGS(exporter)
    except AttributeError:
        return _through_stub(exporter)
    codes = getattr(exporter, "_retryable_error_codes", None)

    def connect() -> _Connection:
        if insecure:
            channel = grpc.insecure_channel(endpoint, options=options, compression=compression)
        else:
            channel = grpc.secure_channel(endpoint, credentials, options=options, compression=compression)
        export = channel.unary_unary(METHOD)  # no (de)serializers: bytes in, bytes out
        return _Connection(export.future, export, channel.close)

    return GrpcTransport(
        connect,
        tuple(headers or ()),
        timeout_s=float(timeout_s),
        retryable=RETRYABLE if codes is None or codes == _default_codes() else frozenset(codes),
        metrics=getattr(exporter, "_metrics", None),
    )


def _through_stub(exporter: SpanExporter) -> GrpcTransport | None:
    try:
        stub, headers, timeout_s = _OLD_SETTINGS(exporter)
    except AttributeError:
        return None

    def begin(body: bytes, **how: object) -> object:
        return stub.Export.future(ExportTraceServiceRequest.FromString(body), **how)

    def call(body: bytes, **how: object) -> object:
        return stub.Export(ExportTraceServiceRequest.FromString(body), **how)

    return GrpcTransport(
        lambda: _Connection(begin, call, lambda: None), tuple(headers or ()), timeout_s=float(timeout_s)
    )


def _default_codes() -> frozenset[grpc.StatusCode]:
    """Return the SDK's own choice, which is the specification's and RESOURCE_EXHAUSTED in any case."""
    return RETRYABLE | {grpc.StatusCode.RESOURCE_EXHAUSTED}


def _retry_delay(error: grpc.RpcError) -> float | None:
    """Return the seconds of the ``RetryInfo`` that came with a status; ``None`` if there is none."""
    for key, value in error.trailing_metadata() or ():
        try:
            if key == "google.rpc.retryinfo-bin":
                return _seconds(RetryInfo.FromString(value))
            if key == "grpc-status-details-bin":
                for detail in Status.FromString(value).details:
                    info = RetryInfo()
                    if detail.Unpack(info):
                        return _seconds(info)
        except DecodeError:
            continue
    return None


def _seconds(info: RetryInfo) -> float:
    delay: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return max(0.0, delay)
