"""Real peers for the pipeline: collectors that answer as told, over HTTP and gRPC, and some that are no collectors."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from spanloom.handlers.otel._frame import Envelope, frame


def envelope(service: str = "test") -> Envelope:
    resource = ResourceSpans()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scope = ScopeSpans(scope=InstrumentationScope(name="spanloom", version="1"))
    return Envelope(resource.SerializeToString(), scope.SerializeToString())


ENVELOPE = envelope()


def frames(start: int, end: int, size: int = 200) -> list[bytes]:
    """Return encoded spans whose ids are the numbers from `start` up to `end`."""
    return [
        frame(
            Span(
                trace_id=bytes([7]) * 16, span_id=number.to_bytes(8, "big"), name="x" * size
            ).SerializeToString()
        )
        for number in range(start, end)
    ]


class Answer(NamedTuple):
    """What a collector answers; spans of a request that is not answered by 200 are not kept."""

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    delay_s: float = 0.0
    rejected: int = 0


Decide = Callable[[int, ExportTraceServiceRequest], Answer]


class HttpCollector:
    """A real OTLP/HTTP endpoint on loopback; `decide` gets the number of the request, from 0 on."""

    def __init__(self, decide: Decide = lambda number, request: Answer(), *, port: int = 0) -> None:
        self.decide = decide
        self.span_ids: list[int] = []
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.released = threading.Event()
        lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                encoding = self.headers.get("Content-Encoding")
                if encoding is not None:
                    body = gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                with lock:
                    number = len(collector.requests)
                    collector.requests.append(request)
                    collector.headers.append({key.lower(): value for key, value in self.headers.items()})
                answer = collector.decide(number, request)
                collector.released.wait(answer.delay_s)
                if answer.status == 200:
                    ids = [int.from_bytes(span.span_id, "big") for span in spans_of(request)]
                    with lock:
                        collector.span_ids.extend(ids[answer.rejected :])
                reply = answer.body
                if answer.rejected:
                    response = ExportTraceServiceResponse()
                    response.partial_success.rejected_spans = answer.rejected
                    response.partial_success.error_message = "no room"
                    reply = response.SerializeToString()
                try:
                    self.send_response(answer.status)
                    for key, value in answer.headers.items():
                        self.send_header(key, value)
                    self.send_header("Content-Length", str(len(reply)))
                    self.end_headers()
                    self.wfile.write(reply)
                except ConnectionError:
                    self.close_connection = True  # the client has stopped waiting

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass  # a client that went away

        self.server = Server(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def __enter__(self) -> HttpCollector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def spans_of(request: ExportTraceServiceRequest) -> list[Any]:
    return [
        span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]


def first(count: int, answer: Answer) -> Decide:
    """Give `answer` to the first `count` requests, and accept the others."""
    return lambda number, request: answer if number < count else Answer()


@contextlib.contextmanager
def listener(serve: Callable[[socket.socket], None] | None, backlog: int = 16) -> Iterator[int]:
    """Listen on loopback and call `serve` with every connection in a thread; with ``None`` never accept one."""
    server = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    connections: list[socket.socket] = []
    over = threading.Event()

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connections.append(connection)
            if serve is not None:
                threading.Thread(target=_quietly, args=(serve, connection), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    if serve is not None:
        thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        over.set()
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        if serve is not None:
            thread.join()  # before the connections are closed: it may just have accepted another one
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def _quietly(serve: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        serve(connection)


def silent(connection: socket.socket) -> None:
    """Take everything, and never answer."""
    while connection.recv(1 << 16):
        pass


def garbage(connection: socket.socket) -> None:
    """Answer what is no HTTP."""
    connection.recv(1 << 16)
    connection.sendall(b"\x16\x03\x01\x00garbage\r\n\r\n")
    connection.close()


def resets(connection: socket.socket) -> None:
    """Break the connection in the middle of a request."""
    connection.recv(1024)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def trickles(connection: socket.socket) -> None:
    """Answer so slowly that no timeout between two bytes ever passes."""
    connection.recv(1 << 16)
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Wait: 1\r\n" * 1000:
        connection.sendall(bytes((byte,)))
        time.sleep(0.1)  # a close that is given 0.6 s sees no status that counts


def endless(connection: socket.socket) -> None:
    """Answer 503 with a body that never ends."""
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 503 No\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        connection.sendall(b"x" * (1 << 16))


def closed_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
