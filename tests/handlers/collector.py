"""A real OTLP endpoint on loopback, HTTP or gRPC, with or without TLS, that keeps what it is sent."""

from __future__ import annotations

import gzip
import select
import socket
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

INFLATE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "": bytes,
}


@dataclass
class Request:
    """One export: where it went, with what headers, what it said."""

    path: str
    headers: dict[str, str]
    message: Any


class Collector:
    """What was received, and how to misbehave."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self.hang = False
        self.given_up_after_s: list[float] = []
        """How long clients waited for an answer that did not come."""
        self.refuse_once_with: grpc.StatusCode | None = None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def of(self, kind: str) -> list[Request]:
        return [request for request in self.requests if kind in type(request.message).__name__]

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.of("Trace")
            for resource in request.message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, str]:
        (first, *_) = self.of("Trace")
        attributes = first.message.resource_spans[0].resource.attributes
        return {item.key: item.value.string_value or str(item.value.int_value) for item in attributes}

    @property
    def metrics(self) -> dict[str, Any]:
        """Each as it was exported first."""
        return {
            metric.name: metric
            for request in reversed(self.of("Metrics"))
            for resource in request.message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if collector.hang:
                self.wait_for_the_client_to_give_up()
                return
            body = INFLATE[self.headers.get("Content-Encoding", "")](body)
            kind = metrics_pb2 if "metrics" in self.path else trace_pb2
            name = "Metrics" if "metrics" in self.path else "Trace"
            message = getattr(kind, f"Export{name}ServiceRequest").FromString(body)
            headers = {key.lower(): value for key, value in self.headers.items()}
            collector.requests.append(Request(self.path, headers, message))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def wait_for_the_client_to_give_up(self) -> None:
            started = time.monotonic()
            while collector.hang:
                if select.select([self.connection], [], [], 0.02)[0] and not self.connection.recv(
                    1, socket.MSG_PEEK
                ):
                    collector.given_up_after_s.append(time.monotonic() - started)
                    break
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def http_collector(tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    """Receive by HTTP, or HTTPS with `tls`."""
    collector = Collector()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(collector))
    server.daemon_threads = True
    if tls is not None:
        # Later, on the thread of the connection, where it is closed if it fails.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that refuses us is no news
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    collector.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        collector.hang = False
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def grpc_collector(credentials: grpc.ServerCredentials | None = None) -> Iterator[Collector]:
    """Receive by gRPC; its ``url`` has a scheme only without TLS."""
    collector = Collector()

    def receive(request: Any, context: grpc.ServicerContext) -> None:
        if collector.refuse_once_with is not None:
            code, collector.refuse_once_with = collector.refuse_once_with, None
            context.abort(code, "not now")
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        collector.requests.append(Request("", headers, request))

    class Traces(trace_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 # its name in the protocol
            receive(request, context)
            return trace_pb2.ExportTraceServiceResponse()

    class Metrics(metrics_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 # its name in the protocol
            receive(request, context)
            return metrics_pb2.ExportMetricsServiceResponse()

    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        trace_grpc.add_TraceServiceServicer_to_server(Traces(), server)
        metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        collector.url = f"{'https' if credentials else 'http'}://127.0.0.1:{port}"
        try:
            yield collector
        finally:
            server.stop(0).wait()


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1, good for a server, a client and an authority."""

    certificate: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    """Have openssl make one."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(made.key), "-out", str(made.certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return made


def server_context(made: Certificate, *, ask_client: bool = False) -> ssl.SSLContext:
    """Serve with `made`; with `ask_client`, only to clients that have it, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    if ask_client:
        context.load_verify_locations(made.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
