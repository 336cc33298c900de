"""The pipeline from encoded spans to a collector over HTTP: every answer, every fault, no span unaccounted for."""

from __future__ import annotations

import email.utils
import gc
import logging
import os
import random
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry import context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from spanloom.handlers.otel._counts import ExportCounts, Ledger
from spanloom.handlers.otel._http_session import AbortableAdapter
from spanloom.handlers.otel._memory import OVERHEAD, MemoryStore
from spanloom.handlers.otel._outlets import Outlets
from spanloom.handlers.otel._pipeline import Pipeline, open_pipeline, transport_for
from spanloom.handlers.otel._plan import look_at
from spanloom.handlers.otel._schedule import STEADY_S
from spanloom.handlers.otel._sender import CROWD_HELPERS, MAX_BACKOFF_S, MAX_RETRY_AFTER_S, _pause_s
from spanloom.handlers.otel._transport import Reply, Verdict
from spanloom.handlers.otel._transport_http import _retry_after
from tests.handlers.otel_peers import (
    ENVELOPE,
    Answer,
    HttpCollector,
    closed_port,
    endless,
    envelope,
    first,
    frames,
    garbage,
    listener,
    resets,
    silent,
    spans_of,
    trickles,
)
from tests.waited import waited

ROOT = Path(__file__).resolve().parents[2]


# The ssl module leaves a socket whose peer was gone before the handshake to the garbage collector (CPython 3.11).
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket", "ignore:unclosed <ssl.SSLSocket"
)


@pytest.fixture(autouse=True)
def nothing_is_left(clean_environment: None) -> Iterator[None]:
    yield
    gc.collect()  # what a test has left is found in that test


@pytest.fixture
def collector() -> Iterator[HttpCollector]:
    with HttpCollector() as collector:
        yield collector


def pipeline_to(url: str, timeout: float = 10.0) -> Pipeline:
    return open_pipeline(OTLPSpanExporter(url, timeout=timeout))


def balanced(counts: ExportCounts) -> bool:
    return counts.exported + counts.dropped + counts.pending == counts.produced and min(counts[:4]) >= 0


def put(pipeline: Pipeline, start: int, end: int, size: int = 200, step: int = 100) -> None:
    for at in range(start, end, step):
        pipeline.put(ENVELOPE, frames(at, min(end, at + step), size))


# what arrives ---------------------------------------------------------------------------------------------


def test_spans_arrive_once_and_as_they_were(collector: HttpCollector) -> None:
    """A burst of 10,000 spans is with the collector when flush says so, each once, in their envelopes."""
    pipeline = pipeline_to(collector.url)
    put(pipeline, 1, 10_001)
    pipeline.put(envelope("another"), frames(10_001, 10_002))
    assert pipeline.flush(10)
    assert sorted(collector.span_ids) == list(range(1, 10_002))
    assert pipeline.stats() == ExportCounts(10_001, 10_001, 0, 0, {})
    services = Counter(
        resource.resource.attributes[0].value.string_value
        for request in collector.requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for _ in scope.spans
    )
    assert services == {"test": 10_000, "another": 1}
    assert pipeline.close()


@pytest.mark.parametrize("delay_s", [0.05, 0.25, 1.0])
def test_a_slow_collector_loses_nothing(delay_s: float) -> None:
    """A burst of 10,000 spans to a collector that answers late arrives whole, and close waits for it."""
    with HttpCollector(lambda number, request: Answer(delay_s=delay_s)) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 10_001)
        assert pipeline.close(5)
        assert sorted(collector.span_ids) == list(range(1, 10_001))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(429, {"Retry-After": "0.1"}),
        Answer(429, {"Retry-After": "1"}),
        Answer(502, body=b"<html>bad gateway</html>"),
        Answer(503, {"Retry-After": "nonsense"}),
        Answer(504),
    ],
    ids=lambda answer: f"{answer.status}{'-'.join(['', *answer.headers.values()])}",
)
def test_what_can_be_retried_is_delivered_once(answer: Answer) -> None:
    """Spans that were turned away for the moment are sent again until they are taken, and counted once."""
    with HttpCollector(first(2, answer)) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 301)
        assert pipeline.flush(10)
        assert sorted(collector.span_ids) == list(range(1, 301))
        assert pipeline.stats() == ExportCounts(300, 300, 0, 0, {})
        assert pipeline.close()


def test_retry_after_is_kept() -> None:
    """A collector that asks for a second is left alone for a second, though somebody waits in flush."""
    times: list[float] = []

    def decide(number: int, request: ExportTraceServiceRequest) -> Answer:
        times.append(time.monotonic())
        return Answer(503, {"Retry-After": "1"}) if number == 0 else Answer()

    with HttpCollector(decide) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 11)
        assert pipeline.flush(10)
        assert len(times) == 2
        assert times[1] - times[0] >= 1.0
        pipeline.close()


@pytest.mark.parametrize("value", ["0", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_retry_after_of_no_time_is_no_call_to_hammer(value: str) -> None:
    """A collector that is to be asked again at once, again and again, is asked after the usual back-off."""
    with HttpCollector(lambda number, request: Answer(503, {"Retry-After": value})) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 11)
        assert not pipeline.flush(1.2)
        assert 2 <= len(collector.requests) <= 4
        assert not pipeline.close(0.2)


@pytest.mark.parametrize("status", [400, 401, 404, 500, 501, 307])
def test_what_must_not_be_retried_is_dropped_and_counted_by_its_status(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused spans are not sent again; the count names the status, the log does so once, and flush says False."""
    with HttpCollector(first(2, Answer(status, body=b"no \x1b[31mthanks"))) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 101)
        assert not pipeline.flush(10)
        put(pipeline, 101, 201)
        assert not pipeline.flush(10)
        put(pipeline, 201, 301)
        assert pipeline.flush(10)
        assert pipeline.stats() == ExportCounts(300, 100, 200, 0, {f"http {status}": 200})
        assert len(collector.requests) == 3
        assert not pipeline.close()
    told = [record.getMessage() for record in caplog.records if "being dropped" in record.getMessage()]
    assert len(told) == 1
    assert f"http {status}" in told[0]
    assert "\x1b" not in told[0]


def test_a_request_that_is_too_large_is_halved_down_to_the_span_that_is() -> None:
    """A collector that takes 20 kB gets all spans in requests of that size; one larger span is dropped and counted."""

    def decide(number: int, request: ExportTraceServiceRequest) -> Answer:
        return Answer(413 if request.ByteSize() > 20_000 else 200)

    with HttpCollector(decide) as collector:
        pipeline = pipeline_to(collector.url)
        pipeline.put(ENVELOPE, frames(1, 500) + frames(500, 501, size=30_000) + frames(501, 1001))
        assert not pipeline.flush(10)
        assert sorted(collector.span_ids) == [number for number in range(1, 1001) if number != 500]
        assert pipeline.stats() == ExportCounts(1000, 999, 1, 0, {"too large": 1})
        sent = len(collector.requests)
        put(pipeline, 1001, 2001)
        assert pipeline.flush(10)
        assert len(collector.requests) - sent < 60, "what was learned of the collector's limit is forgotten"
        pipeline.close()


def test_partial_success_is_counted() -> None:
    """Of a request that was accepted but for 3 spans, those 3 are dropped, and the rest is exported."""
    with HttpCollector(first(1, Answer(rejected=3))) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 101)
        assert not pipeline.flush(10)
        assert pipeline.stats() == ExportCounts(100, 97, 3, 0, {"rejected by the collector": 3})
        assert len(collector.span_ids) == 97
        pipeline.close()


@pytest.mark.parametrize("body", [b"\xff\xff\xff garbage", b"<html>fine</html>", b"x" * 1_000_000])
def test_a_strange_body_of_a_success_is_a_success(body: bytes) -> None:
    """The status says that the spans were taken, whatever comes with it."""
    with HttpCollector(lambda number, request: Answer(200, body=body)) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 11)
        assert pipeline.flush(10)
        assert pipeline.stats().exported == 10
        pipeline.close()


@pytest.mark.parametrize("fault", [garbage, resets], ids=lambda fault: fault.__name__)
def test_a_broken_connection_is_tried_again(fault: Callable[[socket.socket], None]) -> None:
    """After answers that are none, and connections broken midway, spans are pending, and are not lost."""
    with listener(fault) as port:
        pipeline = pipeline_to(f"http://127.0.0.1:{port}/v1/traces")
        put(pipeline, 1, 101)
        assert not pipeline.flush(0.5)
        assert pipeline.stats() == ExportCounts(100, 0, 0, 100, {})
        assert not pipeline.close(0.5)


@pytest.mark.parametrize(
    ("error", "dropped"),
    [(RuntimeError("can't create new thread at interpreter shutdown"), 0), (TypeError("no"), 10)],
)
def test_an_unforeseen_error_is_tried_again_unless_it_is_hopeless(
    collector: HttpCollector, error: Exception, dropped: int
) -> None:
    """Of what a user's own session raises, only what says that the request is wrong costs its spans."""
    errors = [error]

    class Failing(requests.adapters.HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            if errors:
                raise errors.pop()
            return super().send(request, *args, **kwargs)

    session = requests.Session()
    session.mount("http://", Failing())
    exporter = OTLPSpanExporter(collector.url, session=session)
    pipeline = open_pipeline(exporter)
    put(pipeline, 1, 11)
    assert pipeline.flush(10) is not bool(dropped)
    assert pipeline.stats().dropped == dropped
    assert len(collector.span_ids) == 10 - dropped
    pipeline.close()
    exporter.shutdown()


@pytest.mark.parametrize(
    ("slow_from", "verdict"),
    [("status", Verdict.RETRY), ("headers", Verdict.RETRY), ("body", Verdict.ACCEPTED)],
)
def test_an_answer_that_trickles_is_over_in_time(slow_from: str, verdict: Verdict) -> None:
    """The timeout is for an answer as a whole, however often a byte of it arrives; a status that came counts."""
    answer = {
        "": b"",
        "status": b"HTTP/1.1 200 OK\r\n",
        "headers": b"Content-Length: 1000\r\n" + b"X-Wait: 1\r\n" * 10 + b"\r\n",
        "body": b"x" * 1000,
    }

    def slowly(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        parts = list(answer)
        at = parts.index(slow_from)
        connection.sendall(b"".join(answer[part] for part in parts[:at]))
        for byte in b"".join(answer[part] for part in parts[at:])[:100]:
            connection.sendall(bytes((byte,)))
            time.sleep(0.05)

    with listener(slowly) as port:
        transport = transport_for(OTLPSpanExporter(f"http://127.0.0.1:{port}/v1/traces"))
        assert transport is not None
        started = time.monotonic()
        with waited() as seconds:
            reply = transport.send(ENVELOPE.wrap(frames(1, 2)), spans=1, timeout_s=0.5)
        assert time.monotonic() - started > 0.4
        assert seconds() < 2.5
        assert reply.verdict is verdict
        transport.close()


def test_a_collector_that_comes_later_gets_everything(caplog: pytest.LogCaptureFixture) -> None:
    """Spans that nobody listened for wait until somebody does; the log says where nobody does, in three words."""
    port = closed_port()
    pipeline = pipeline_to(f"http://me:secret@127.0.0.1:{port}/v1/traces")
    put(pipeline, 1, 1001)
    assert not pipeline.flush(0.3)
    with HttpCollector(port=port) as collector:
        assert pipeline.flush(10)
        assert sorted(collector.span_ids) == list(range(1, 1001))
        assert pipeline.close()
    told = "spans cannot be sent, and will be sent again: not sent ({}: Connection refused)"
    assert told.format(f"127.0.0.1:{port}") in caplog.messages


# what does not arrive ---------------------------------------------------------------------------------------


def test_flush_never_says_what_is_not_so() -> None:
    """Flush returns False while spans are under way, and says True again once they have arrived."""
    with HttpCollector(lambda number, request: Answer(delay_s=0.3)) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 101)
        assert not pipeline.flush(0.05)
        assert collector.span_ids == []
        assert pipeline.flush(5)
        assert len(collector.span_ids) == 100
        assert pipeline.close()


PEERS = {
    "silent": silent,
    "never accepts": None,
    "trickles": trickles,
    "endless": endless,
    "garbage": garbage,
    "resets": resets,
}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("peer", [*PEERS, "refused"])
def test_close_is_over_in_time_whatever_the_peer_does(
    peer: str, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Close takes no longer than it was given, counts what is lost, says so once, and leaves no thread behind."""
    before = senders()
    with listener(PEERS.get(peer, silent), backlog=0) as port:
        if peer == "refused":
            port = closed_port()
        full = [_half_open(port) for _ in range(3)] if peer == "never accepts" else []
        pipeline = pipeline_to(f"{scheme}://127.0.0.1:{port}/v1/traces", timeout=3.0)
        put(pipeline, 1, 1001)
        time.sleep(0.1)  # so that a request is under way
        with waited() as seconds:
            assert not pipeline.close(0.6)
        assert seconds() < 1.6
        assert pipeline.stats() == ExportCounts(1000, 0, 1000, 0, {"unsent at exit": 1000})
        put(pipeline, 1001, 1003)
        assert pipeline.stats() == ExportCounts(1002, 0, 1002, 0, {"unsent at exit": 1000, "closed": 2})
        assert not pipeline.close(0.6)
        lost = [record.getMessage() for record in caplog.records if "were lost" in record.getMessage()]
        assert lost == ["1000 of 1000 spans were lost (unsent at exit: 1000)"]
        deadline = time.monotonic() + 30  # a connect cannot be broken off
        while senders() - before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for sock in full:
            sock.close()


def senders() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("spanloom-otel-sender")}


def _half_open(port: int) -> socket.socket:
    """Return a connection that fills the queue of a listener that never accepts."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", port))
    return sock


def test_close_is_over_in_time_when_no_name_is_resolved() -> None:
    """A resolver that hangs, which nothing can break off, keeps neither close nor the end of the process."""
    program = """
import socket, time
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from spanloom.handlers.otel._pipeline import open_pipeline
from tests.handlers.otel_peers import ENVELOPE, frames
from tests.waited import waited
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
pipeline = open_pipeline(OTLPSpanExporter("http://collector.example:4318/v1/traces"))
pipeline.put(ENVELOPE, frames(1, 11))
time.sleep(0.1)
with waited() as seconds:
    assert not pipeline.close(0.5)
assert seconds() < 1.0
assert pipeline.stats().dropped == 10
"""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), *sys.path]))
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=50)


def test_memory_is_bounded_while_nobody_takes_anything() -> None:
    """Half a million spans for a collector that hangs cost less than 64 MB; the oldest give way and are counted."""
    with listener(silent) as port:
        pipeline = pipeline_to(f"http://127.0.0.1:{port}/v1/traces", timeout=0.2)
        ready = frames(1, 1001)
        tracemalloc.start()
        try:
            for _ in range(500):
                pipeline.put(ENVELOPE, [bytes(bytearray(frame)) for frame in ready])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        counts = pipeline.stats()
        assert peak < 64 << 20
        assert balanced(counts)
        assert counts.produced == 500_000
        assert counts.reasons == {"memory full": counts.dropped}
        assert counts.pending > 100_000
        assert not pipeline.close(0.2)


def test_the_account_balances_at_every_instant() -> None:
    """While four threads put and a collector errs in every way, each look at the counts finds every span."""
    kinds = [Answer(503), Answer(400), Answer(rejected=1), Answer(), Answer(429, {"Retry-After": "0"})]

    def decide(number: int, request: ExportTraceServiceRequest) -> Answer:
        answer = Answer(413) if number == 2 else kinds[number % len(kinds)]
        return answer._replace(rejected=min(answer.rejected, len(spans_of(request))))

    with HttpCollector(decide) as collector, pytest.MonkeyPatch.context() as patch:
        patch.setattr("spanloom.handlers.otel._sender.BACKOFF_S", 0.001)
        pipeline = pipeline_to(collector.url)
        threads = [
            threading.Thread(target=put, args=(pipeline, 1 + 5000 * at, 5001 + 5000 * at, 200, 7))
            for at in range(4)
        ]
        for thread in threads:
            thread.start()
        looks = []
        while any(thread.is_alive() for thread in threads) or pipeline.stats().pending:
            looks.append(pipeline.stats())
            pipeline.flush(0.01)
        assert [look for look in looks if not balanced(look)] == []
        counts = pipeline.stats()
        assert counts.produced == 20_000
        assert counts.exported == len(collector.span_ids) == len(set(collector.span_ids))
        pipeline.close()
        assert pipeline.stats() == counts


# what it is told ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["gzip", "deflate", "none"])
def test_the_environment_of_the_exporter_takes_effect(
    collector: HttpCollector, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """Endpoint (base or signal), headers and compression are those of the OTEL_EXPORTER_OTLP_* variables."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.removesuffix("/v1/traces"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret,x-other=a%20b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "7")
    pipeline = open_pipeline(None)
    pipeline.put(ENVELOPE, frames(1, 101))
    assert pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, 101))
    (headers,) = collector.headers
    assert headers["api-key"] == "secret"
    assert headers["x-other"] == "a b"
    assert headers.get("content-encoding", "none") == compression
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["user-agent"].startswith("OTel-OTLP-Exporter-Python/")
    transport = transport_for(OTLPSpanExporter())
    assert transport is not None
    assert transport.timeout_s == 7


def test_what_the_user_gave_the_exporter_takes_effect(collector: HttpCollector) -> None:
    """A session, headers and compression that were given to the exporter are used, also a session's own adapters."""
    seen: list[object] = []

    class Noting(requests.adapters.HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

            seen.append(context.get_value(_SUPPRESS_INSTRUMENTATION_KEY))
            return super().send(request, *args, **kwargs)

    session = requests.Session()
    session.headers["X-Session"] = "mine"
    session.mount("http://", Noting())
    exporter = OTLPSpanExporter(
        collector.url, headers={"X-Given": "1"}, compression=Compression.Gzip, session=session, timeout=5
    )
    pipeline = open_pipeline(exporter)
    pipeline.put(ENVELOPE, frames(1, 11))
    assert pipeline.close()
    assert seen == [True], "instrumentation of requests would make spans of the sending of spans"
    (headers,) = collector.headers
    assert (headers["x-session"], headers["x-given"]) == ("mine", "1")
    assert headers["content-encoding"] == "gzip"
    exporter.shutdown()


def test_only_the_exporters_of_the_sdk_can_be_replaced() -> None:
    """A class derived from the exporter may do anything in `export`, so it is not sent around it."""

    class Own(OTLPSpanExporter):
        pass

    assert transport_for(Own()) is None
    with pytest.raises(TypeError, match=r"OTLPSpanExporter, not through .*Own"):
        open_pipeline(Own())


def test_the_pace_is_that_of_the_environment(
    collector: HttpCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_BSP_SCHEDULE_DELAY sends a single span without a flush; OTEL_BSP_MAX_EXPORT_BATCH_SIZE bounds requests."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
    pipeline = pipeline_to(collector.url)
    put(pipeline, 1, 2)
    deadline = time.monotonic() + 30
    while not collector.span_ids:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    put(pipeline, 2, 1002)
    assert pipeline.close()
    assert max(len(spans_of(request)) for request in collector.requests) == 64
    assert sorted(collector.span_ids) == list(range(1, 1002))


def test_the_queue_and_the_timeout_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_BSP_MAX_QUEUE_SIZE bounds the spans that wait, OTEL_BSP_EXPORT_TIMEOUT the time of a request."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "150")
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "100")
    with HttpCollector(first(1, Answer(delay_s=30))) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 1001)
        counts = pipeline.stats()
        assert counts.pending <= 150 + 150, "those that wait, and those of the request under way"
        assert counts.reasons == {"memory full": 1000 - counts.pending}
        pipeline.flush(10)
        assert pipeline.stats().exported == counts.pending
        assert len(collector.requests) >= 2
        pipeline.close()


@pytest.mark.parametrize("size", [8, 150, 1000, 2048, 6000])
def test_a_queue_is_sent_before_it_is_full(
    collector: HttpCollector, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """However long a span may wait for company: when half of those that may wait are there, they are sent."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(size))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    pipeline = pipeline_to(collector.url)
    half = size // 2
    put(pipeline, 1, half + 1)
    with waited() as seconds:
        # Fewer may be left by a request that went out meanwhile.
        while pipeline.stats().pending >= min(half, 512):
            assert seconds() < 30
            time.sleep(0.01)
    assert pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, half + 1))


def test_what_waits_is_sent_a_few_times_a_second(
    collector: HttpCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any bound, too, spans do not wait for more than a request is worth: a SIGKILL would take them."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    pipeline = pipeline_to(collector.url)
    for start in range(1, 4 * 512, 512):
        put(pipeline, start, start + 512)
        with waited() as seconds:
            while pipeline.stats().pending:
                assert seconds() < 30
                time.sleep(0.01)
    assert sorted(collector.span_ids) == list(range(1, 4 * 512 + 1))
    put(pipeline, 3001, 3101)
    time.sleep(3 * STEADY_S)
    assert pipeline.stats().pending == 100, "so few wait for the delay that the environment names"
    assert pipeline.close()


def test_room_is_waited_for_while_the_collector_takes_what_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of many times what may wait arrives as a whole, with a collector that takes its time."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "150")
    with HttpCollector(lambda number, request: Answer(delay_s=0.02)) as collector:
        pipeline = pipeline_to(collector.url)
        step = pipeline.portion
        assert step is not None
        assert step <= 75
        for start in range(1, 2001, step):
            pipeline.make_room(step)
            pipeline.put(ENVELOPE, frames(start, start + step))
            assert pipeline.stats().pending <= 150 + 150
        assert pipeline.flush(20)
        assert pipeline.stats().dropped == 0
        assert len(collector.span_ids) == pipeline.stats().exported >= 2000
        assert pipeline.close()


@pytest.mark.parametrize("answer", [Answer(503), Answer(429, {"Retry-After": "60"}), Answer(delay_s=60)])
def test_room_is_not_waited_for_with_a_collector_that_takes_nothing(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where waiting makes no room, what is too much is dropped and counted; a silence is waited for once."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setattr("spanloom.handlers.otel._sender.PATIENCE_S", 0.5)
    with HttpCollector(lambda number, request: answer) as collector:
        pipeline = pipeline_to(collector.url, timeout=90)
        put(pipeline, 1, 101)
        with waited() as seconds:
            while not collector.requests:
                assert seconds() < 30
                time.sleep(0.01)
        with waited() as seconds:
            for start in range(101, 10_001, 100):
                pipeline.make_room(50)
                put(pipeline, start, start + 100)
        assert seconds() < 5, "99 times half a second, and more, if each were waited for"
        counts = pipeline.stats()
        assert balanced(counts)
        assert counts.reasons == {"memory full": counts.dropped}
        assert not pipeline.close(0.2)


def test_a_backlog_is_sent_side_by_side_though_nobody_waits_for_it() -> None:
    """One request after the other would not keep up with a slow collector, and what is too much would be lost."""
    under_way: set[int] = set()
    most = 0

    def decide(number: int, request: ExportTraceServiceRequest) -> Answer:
        nonlocal most
        under_way.add(number)
        most = max(most, len(under_way))
        collector.released.wait(0.3)
        under_way.discard(number)
        return Answer()

    with HttpCollector(decide) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 100_001)
        with waited() as seconds:
            while pipeline.stats().exported < 60_000:
                assert seconds() < 30
                time.sleep(0.01)
        assert 2 <= most <= 1 + CROWD_HELPERS
        assert pipeline.flush(10)
        assert sorted(collector.span_ids) == list(range(1, 100_001))
        assert pipeline.close()


def test_no_thread_asks_a_collector_that_wants_to_be_left_alone() -> None:
    """Its `Retry-After` is kept also by the requests that a flush has sent side by side."""
    times: list[float] = []

    def decide(number: int, request: ExportTraceServiceRequest) -> Answer:
        times.append(time.monotonic())
        return Answer(429, {"Retry-After": "2"}) if number == 0 else Answer()

    with HttpCollector(decide) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 60_001)
        with waited() as seconds:
            while not times:
                assert seconds() < 30
                time.sleep(0.01)
        time.sleep(0.2)
        so_far = len(times)
        assert so_far <= 1 + CROWD_HELPERS, "those that were under way when it said so"
        assert not pipeline.flush(0.3)
        assert len(times) == so_far
        assert pipeline.flush(20)
        assert times[so_far] - times[0] >= 1.9
        assert sorted(collector.span_ids) == list(range(1, 60_001))
        assert pipeline.close()


@pytest.mark.parametrize("value", ["-1", "many", "1.5"])
def test_a_pace_that_makes_no_sense_is_said_and_left_out(
    collector: HttpCollector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    """A wrong OTEL_BSP_* variable is logged, and the default holds."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", value)
    pipeline = pipeline_to(collector.url)
    put(pipeline, 1, 101)
    assert pipeline.close()
    assert [record.args for record in caplog.records] == [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", value, 1)]


def test_certificates_take_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector's certificate is checked against the given one, and the client shows its own."""
    import ssl

    certificate, key = certificates(tmp_path)
    with HttpCollector() as collector:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        tls.load_verify_locations(certificate)
        tls.verify_mode = ssl.CERT_REQUIRED
        collector.server.socket = tls.wrap_socket(collector.server.socket, server_side=True)
        url = collector.url.replace("http://127.0.0.1", "https://localhost")
        monkeypatch.setenv("NO_PROXY", "localhost")
        unknown = pipeline_to(url)
        put(unknown, 1, 2)
        assert not unknown.close(0.5)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())  # not what OTLP was told to trust
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(certificate))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(certificate))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(key))
        known = pipeline_to(url)
        put(known, 2, 12)
        assert known.close(5)
        assert sorted(collector.span_ids) == list(range(2, 12))


def certificates(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for localhost that signs itself, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    request = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", "req", *request, *names, "-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
    )
    return certificate, key


# its parts ----------------------------------------------------------------------------------------------------


def test_retry_after_is_read_as_seconds_or_a_date() -> None:
    """RFC 9110: a number of seconds, or an HTTP date; anything else counts for nothing."""
    soon = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert _retry_after("120") == 120
    assert _retry_after("-5") == 0
    assert 98 < (_retry_after(soon) or 0) <= 100
    assert _retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert [_retry_after(value) for value in (None, "", "inf", "nan", "tomorrow", "1e999")] == [None] * 6


def test_pauses_grow_and_are_bounded() -> None:
    """The back-off doubles from half a second to 30 s, +/- 20 %; a collector can ask for 300 s at most."""
    for retries in range(1, 100):
        middle = min(0.5 * 2 ** (retries - 1), MAX_BACKOFF_S)
        assert 0.8 * middle <= _pause_s(Reply(Verdict.RETRY), retries) <= 1.2 * middle
        assert _pause_s(Reply(Verdict.RETRY, retry_after_s=0.0), retries) >= 0.8 * middle
    assert _pause_s(Reply(Verdict.RETRY, retry_after_s=1e9), 1) == MAX_RETRY_AFTER_S


def test_a_forked_child_sends_its_own_spans_only(collector: HttpCollector) -> None:
    """A child begins with nothing pending, on connections of its own; the parent's spans arrive once, from it."""
    pipeline = pipeline_to(collector.url)
    put(pipeline, 1, 101)
    assert pipeline.flush(5)
    put(pipeline, 101, 151)
    child = os.fork()
    if child == 0:
        empty = pipeline.stats().produced == 0
        put(pipeline, 201, 301)
        os._exit(0 if empty and pipeline.close() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert pipeline.close()
    assert sorted(collector.span_ids) == [*range(1, 151), *range(201, 301)]


def test_losses_are_said_where_the_user_sees_them(
    collector: HttpCollector, caplog: pytest.LogCaptureFixture
) -> None:
    """A run without any trouble logs nothing."""
    with caplog.at_level(logging.DEBUG, logger="spanloom"):
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 1001)
        assert pipeline.close()
    assert [record for record in caplog.records if record.name.startswith("spanloom")] == []


def test_a_close_waits_for_slow_answers_side_by_side() -> None:
    """What takes five requests is with a collector that takes a second for each within a close of two seconds."""
    with HttpCollector(lambda number, request: Answer(delay_s=1.0)) as collector:
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 60_001)
        assert pipeline.close()
        assert len(collector.requests) >= 4
        assert sorted(collector.span_ids) == list(range(1, 60_001))
        assert pipeline.stats() == ExportCounts(60_000, 60_000, 0, 0, {})


def test_flush_is_not_deceived_by_a_request_that_overtakes_another() -> None:
    """More spans that came later have arrived than somebody waits for, but not those: flush says so."""
    with HttpCollector(lambda number, request: Answer(delay_s=0.0 if number else 30.0)) as collector:
        pipeline = pipeline_to(collector.url, timeout=40)
        put(pipeline, 1, 3001)
        said: list[bool] = []
        waiting = threading.Thread(target=lambda: said.append(pipeline.flush(3.0)))
        waiting.start()
        while not collector.requests:
            time.sleep(0.01)
        put(pipeline, 3001, 9001)
        while pipeline.stats().exported < 6000:
            assert not pipeline.flush(0.05)
        waiting.join()
        assert said == [False]
        collector.released.set()
        assert pipeline.flush(10)
        assert sorted(collector.span_ids) == list(range(1, 9001))
        assert pipeline.close()


def test_what_a_helper_cannot_deliver_is_not_lost() -> None:
    """Requests side by side that are all turned away, or too large, are sent again, and each span arrives once."""

    def decide(number: int, request: ExportTraceServiceRequest) -> Answer:
        if request.ByteSize() > 1_000_000:
            return Answer(413)
        return Answer(503) if number % 3 == 0 else Answer(delay_s=0.05)

    with HttpCollector(decide) as collector, pytest.MonkeyPatch.context() as patch:
        patch.setattr("spanloom.handlers.otel._sender.BACKOFF_S", 0.01)
        pipeline = pipeline_to(collector.url)
        put(pipeline, 1, 60_001)
        assert pipeline.flush(20)
        assert sorted(collector.span_ids) == list(range(1, 60_001))
        assert pipeline.close()
        assert pipeline.stats() == ExportCounts(60_000, 60_000, 0, 0, {})


@pytest.mark.parametrize("seed", range(50))
def test_memory_gives_as_much_as_a_request_may_have(seed: int) -> None:
    """The oldest first and in order, up to either bound, and one in any case; what is left is accounted for."""
    dice = random.Random(seed)
    max_spans, max_bytes = dice.randint(1, 8), dice.randint(1, 30)
    store = MemoryStore(Ledger())
    left: list[bytes] = []
    for _ in range(6):
        frames = [bytes([dice.randrange(256)]) * dice.randint(1, 9) for _ in range(dice.randint(1, 6))]
        store.put(ENVELOPE, frames)
        left += frames
    while left:
        expected = [
            frame
            for at, frame in enumerate(left[:max_spans])
            if not at or sum(map(len, left[: at + 1])) <= max_bytes
        ]
        parcel = store.take(max_spans, max_bytes)
        assert parcel is not None
        assert list(parcel.frames) == expected
        del left[: len(expected)]
        assert store.waiting == len(left)
        assert store.waiting_bytes == sum(map(len, left)) + OVERHEAD * len(left)
        assert store.settle(parcel)
    assert store.take(max_spans, max_bytes) is None


def test_threads_that_put_first_at_once_start_one_sender(
    collector: HttpCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many threads put into a pipeline whose thread does not run yet, and slowly starts, there is one."""

    class Slow(threading.Thread):
        def start(self) -> None:
            time.sleep(0.1)
            super().start()

    before = senders()
    exporter = OTLPSpanExporter(collector.url)
    transport = transport_for(exporter)
    assert transport is not None
    ledger = Ledger()
    pipeline = Pipeline(transport, MemoryStore(ledger), ledger)
    threads = [threading.Thread(target=put, args=(pipeline, at, at + 1)) for at in range(1, 9)]
    with monkeypatch.context() as patch:
        patch.setattr("spanloom.handlers.otel._sender.threading.Thread", Slow)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(senders() - before) == 1
    assert pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, 9))
    exporter.shutdown()


def test_connections_are_cut_while_others_are_made() -> None:
    """An abort is not disturbed by a thread that connects meanwhile."""
    adapter = AbortableAdapter()
    over = threading.Event()

    def connect() -> None:
        while not over.is_set():
            kept = [socket.socket() for _ in range(300)]
            for sock in kept:
                adapter._sockets.add(sock)
                sock.close()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=connect)
    thread.start()
    try:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            adapter.abort()
    finally:
        sys.setswitchinterval(interval)
        over.set()
        thread.join()
        adapter.close()


def test_a_pipeline_that_is_opened_meanwhile_does_not_disturb_the_accounts(collector: HttpCollector) -> None:
    """An exporter may be added to a provider while the accounts of the others are looked at."""

    class Adding(Pipeline):
        def stats(self) -> ExportCounts:
            follow_one_more()
            return super().stats()

    def open_pipe(exporter: SpanExporter) -> Pipeline:
        transport, ledger = transport_for(exporter), Ledger()
        assert transport is not None
        return Adding(transport, MemoryStore(ledger), ledger)

    def follow_one_more() -> None:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector.url)))
        outlets.follow(look_at(provider.get_tracer("test"), follows_root=True))

    outlets = Outlets(open_pipe, lambda: None)
    provider = TracerProvider(shutdown_on_exit=False)
    follow_one_more()
    assert len(outlets.stats()) == 2
    assert len(outlets.pipes) == 2
    assert outlets.close(5)
    provider.shutdown()
