"""The pipeline over gRPC, to real servers: status codes, retry hints, limits, deadlines."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from spanloom.handlers.otel._counts import ExportCounts
from spanloom.handlers.otel._pipeline import Pipeline, open_pipeline, transport_for
from spanloom.handlers.otel._transport import Verdict
from spanloom.handlers.otel._transport_grpc import _Connection, grpc_transport
from tests.handlers.otel_peers import (
    ENVELOPE,
    closed_port,
    frames,
    garbage,
    listener,
    resets,
    silent,
    spans_of,
)
from tests.handlers.test_otel_pipeline import certificates, put, senders
from tests.waited import waited

Decide = Callable[[int, grpc.ServicerContext], ExportTraceServiceResponse]


pytestmark = pytest.mark.usefixtures("clean_environment")


def accept(number: int, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
    return ExportTraceServiceResponse()


class GrpcCollector(TraceServiceServicer):
    """A real OTLP/gRPC endpoint on loopback; `decide` may abort the call."""

    def __init__(
        self, decide: Decide = accept, *, port: int = 0, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self.decide = decide
        self.calls = 0
        self.span_ids: list[int] = []
        self.metadata: list[dict[str, str]] = []
        self.server = grpc.server(ThreadPoolExecutor(4))
        add_TraceServiceServicer_to_server(self, self.server)
        if credentials is None:
            self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        else:
            self.port = self.server.add_secure_port("localhost:0", credentials)
        self.server.start()

    def Export(  # noqa: N802 -- the name is the protocol's
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        self.calls += 1
        self.metadata.append(dict(context.invocation_metadata()))
        response = self.decide(self.calls - 1, context)
        rejected = response.partial_success.rejected_spans
        self.span_ids += [int.from_bytes(span.span_id, "big") for span in spans_of(request)][rejected:]
        return response

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> GrpcCollector:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(None).wait()


@pytest.fixture
def collector() -> Iterator[GrpcCollector]:
    with GrpcCollector() as collector:
        yield collector


def pipeline_to(url: str, timeout: float = 10.0) -> Pipeline:
    return open_pipeline(OTLPSpanExporter(url, timeout=timeout))


def failing(times: int, code: grpc.StatusCode, *trailers: tuple[str, bytes]) -> Decide:
    """Fail the first calls."""

    def decide(number: int, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        if number < times:
            context.set_trailing_metadata(trailers)
            context.abort(code, "not now")
        return ExportTraceServiceResponse()

    return decide


def retry_in(nanos: int) -> RetryInfo:
    info = RetryInfo()
    info.retry_delay.nanos = nanos
    return info


def test_spans_arrive_once(collector: GrpcCollector) -> None:
    """A burst of 10,000 spans is with the collector when flush says so, each once."""
    pipeline = pipeline_to(collector.url)
    put(pipeline, 1, 10_001)
    assert pipeline.flush(10)
    assert sorted(collector.span_ids) == list(range(1, 10_001))
    assert pipeline.stats() == ExportCounts(10_000, 10_000, 0, 0, {})
    assert pipeline.close()


@pytest.mark.parametrize(
    "code", ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]
)
def test_what_can_be_retried_is_delivered_once(code: str) -> None:
    """The codes that the specification calls retryable are retried, and the spans are counted once."""
    with GrpcCollector(failing(1, grpc.StatusCode[code])) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 101)
        assert pipeline.flush(10)
        assert sorted(collector.span_ids) == list(range(1, 101))
        assert pipeline.stats() == ExportCounts(100, 100, 0, 0, {})
        pipeline.close()


@pytest.mark.parametrize("form", ["retryinfo-bin", "status-details-bin"])
def test_an_exhausted_collector_is_asked_again_when_it_says_when(form: str) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo, in either form that servers send it in, is retried after that time."""
    info = retry_in(300_000_000)
    packed = AnyMessage()
    packed.Pack(info)
    trailer = {
        "retryinfo-bin": ("google.rpc.retryinfo-bin", info.SerializeToString()),
        "status-details-bin": (
            "grpc-status-details-bin",
            Status(code=8, message="not now", details=[packed]).SerializeToString(),
        ),
    }[form]
    with GrpcCollector(failing(1, grpc.StatusCode.RESOURCE_EXHAUSTED, trailer)) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 101)
        started = time.monotonic()
        assert pipeline.flush(10)
        assert time.monotonic() - started >= 0.3
        assert collector.calls == 2
        pipeline.close()


@pytest.mark.parametrize(
    "code", ["RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNAUTHENTICATED", "UNIMPLEMENTED", "INTERNAL"]
)
def test_what_must_not_be_retried_is_dropped_and_counted_by_its_code(code: str) -> None:
    """Refused spans are not sent again, and the count names the code; RESOURCE_EXHAUSTED without a time is refusal."""
    with GrpcCollector(failing(1, grpc.StatusCode[code])) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 101)
        assert not pipeline.flush(10)
        put(pipeline, 101, 201)
        assert pipeline.flush(10)
        assert pipeline.stats() == ExportCounts(200, 100, 100, 0, {f"grpc {code}": 100})
        assert collector.calls == 2
        pipeline.close()


def test_partial_success_is_counted() -> None:
    """Of a request that was accepted but for 3 spans, those 3 are dropped, and the rest is exported."""

    def decide(number: int, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = 3
        return response

    with GrpcCollector(decide) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 101)
        assert not pipeline.flush(10)
        assert pipeline.stats() == ExportCounts(100, 97, 3, 0, {"rejected by the collector": 3})
        pipeline.close()


def test_messages_stay_below_the_limit_of_a_server(collector: GrpcCollector) -> None:
    """20 MB of spans fit through a server's 4 MiB; one span that is larger than that is dropped and counted."""
    pipeline = pipeline_to(collector.url)
    put(pipeline, 1, 2001, size=10_000)
    pipeline.put(ENVELOPE, frames(2001, 2002, size=5_000_000))
    put(pipeline, 2002, 2102)
    assert not pipeline.flush(30)
    assert sorted(collector.span_ids) == [number for number in range(1, 2102) if number != 2001]
    assert pipeline.stats() == ExportCounts(2101, 2100, 1, 0, {"too large": 1})
    pipeline.close()


@pytest.mark.parametrize(
    "peer", [silent, None, garbage, resets, "refused"], ids=lambda peer: getattr(peer, "__name__", str(peer))
)
def test_close_is_over_in_time_whatever_the_peer_does(
    peer: Callable[[socket.socket], None] | str | None,
) -> None:
    """Close takes no longer than it was given, counts what is lost, and leaves no thread behind."""
    before = senders()
    with listener(peer if callable(peer) else None, backlog=0) as port:
        pipeline = pipeline_to(f"http://127.0.0.1:{closed_port() if peer == 'refused' else port}")
        put(pipeline, 1, 1001)
        time.sleep(0.1)
        with waited() as seconds:
            assert not pipeline.close(0.6)
        assert seconds() < 1.6
        assert pipeline.stats() == ExportCounts(1000, 0, 1000, 0, {"unsent at exit": 1000})
        deadline = time.monotonic() + 30
        while senders() - before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_collector_that_comes_back_gets_everything() -> None:
    """A server that stops and starts again on its port gets the spans that came in between, soon, and once."""
    with GrpcCollector() as before:
        pipeline = pipeline_to(before.url)
        put(pipeline, 1, 101)
        assert pipeline.flush(5)
    put(pipeline, 101, 1101)
    assert not pipeline.flush(0.5)
    with GrpcCollector(port=before.port) as after:
        assert pipeline.flush(10)
        assert sorted(before.span_ids) == list(range(1, 101))
        assert sorted(after.span_ids) == list(range(101, 1101))
        assert pipeline.close()


def test_the_environment_of_the_exporter_takes_effect(
    collector: GrpcCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol, endpoint, headers and timeout are those of the OTEL_EXPORTER_OTLP_* variables."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "7")
    pipeline = open_pipeline(None)
    pipeline.put(ENVELOPE, frames(1, 101))
    assert pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, 101))
    (metadata,) = collector.metadata
    assert metadata["api-key"] == "secret"
    assert metadata["user-agent"].startswith("OTel-OTLP-Exporter-Python/")
    transport = transport_for(OTLPSpanExporter())
    assert transport is not None
    assert transport.timeout_s == 7


def test_codes_that_the_user_calls_retryable_are_retried() -> None:
    """`retryable_error_codes` of the exporter are honoured in place of the specification's."""
    with GrpcCollector(failing(1, grpc.StatusCode.INTERNAL)) as collector:
        exporter = OTLPSpanExporter(collector.url, retryable_error_codes=[grpc.StatusCode.INTERNAL])
        pipeline = open_pipeline(exporter)
        put(pipeline, 1, 11)
        assert pipeline.flush(10)
        assert pipeline.stats().exported == 10
        pipeline.close()
        exporter.shutdown()


def test_certificates_take_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector's certificate is checked against the given one, and the client shows its own."""
    certificate, key = certificates(tmp_path)
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())], certificate.read_bytes(), require_client_auth=True
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(certificate))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(certificate))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(key))
    with GrpcCollector(credentials=credentials) as collector:
        pipeline = pipeline_to(f"https://localhost:{collector.port}")
        put(pipeline, 1, 11)
        assert pipeline.close(5)
        assert sorted(collector.span_ids) == list(range(1, 11))


def test_an_outage_is_no_loss_when_several_requests_are_under_way() -> None:
    """A call whose channel another thread closes, before it has begun or after, may be made again."""

    def slow_at_first(number: int, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        time.sleep(0.0 if number else 0.3)
        return ExportTraceServiceResponse()

    with GrpcCollector(slow_at_first) as collector:
        exporter = OTLPSpanExporter(collector.url, retryable_error_codes=[grpc.StatusCode.UNAVAILABLE])
        transport = grpc_transport(exporter)
        assert transport is not None
        connect = transport._connect
        left = ["before", "after", "not"]

        def connect_and_close() -> _Connection:
            connection = connect()

            def begin(*args: object, **how: object) -> object:
                if when == "before":
                    transport.close()
                call = connection.begin(*args, **how)
                if when == "after":
                    transport.close()
                return call

            when = left.pop(0)
            return _Connection(begin, connection.call, connection.close)

        transport._connect = connect_and_close
        body = ENVELOPE.wrap(frames(1, 11))
        replies = [transport.send(body, spans=10, timeout_s=5.0) for _ in range(3)]
        assert [reply.verdict for reply in replies] == [Verdict.RETRY, Verdict.RETRY, Verdict.ACCEPTED]
        transport.close()
        exporter.shutdown()


def test_nothing_is_dropped_while_nobody_listens() -> None:
    """Spans for a port where nobody listens are pending after flushes that have many requests under way at once."""
    pipeline = pipeline_to(f"http://127.0.0.1:{closed_port()}")
    put(pipeline, 1, 60_001)
    for _ in range(6):
        assert not pipeline.flush(0.2)
    assert pipeline.stats() == ExportCounts(60_000, 0, 0, 60_000, {})
    assert not pipeline.close(0.3)
