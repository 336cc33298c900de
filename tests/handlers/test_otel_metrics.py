"""Metrics: many measurements at once say the same as one by one, and reach a collector by OTLP."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from spanloom import RetryPolicy, async_map
from spanloom.events import Event
from spanloom.handlers.otel import _histograms
from tests.handlers.otel_setup import Setup

DURATION, QUEUE = "spanloom.event.duration", "spanloom.job.queue.duration"


class Ends:
    """Keeps every ended event, to count by hand."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event_end(self, event: Event) -> None:
        self.events.append(event)


async def job(number: int) -> None:
    await asyncio.sleep(0.001 * (number % 3))
    if number % 5 == 0:
        raise ValueError(number)


def run(provider: MeterProvider, count: int = 60) -> list[Event]:
    otel, ends = Setup(meter_provider=provider), Ends()
    otel.manager.add_handler(ends)
    otel.run(async_map(job, range(count), limit=20, on_error="return", desc="batch"))
    assert otel.manager.flush(5)
    otel.manager.close()
    return ends.events


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    if data is None:
        return []
    metrics = [metric for scope in data.resource_metrics[0].scope_metrics for metric in scope.metrics]
    return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


@pytest.fixture(params=["at once", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "one by one":
        monkeypatch.setattr(_histograms, "_bulk_is_right", lambda: False)
    return request.param


def test_this_sdk_takes_many_measurements_at_once() -> None:
    """The installed SDK is built as the quick way needs it; if this fails, metrics are right and eight times slower."""
    assert _histograms._bulk_is_right()
    meter = MeterProvider([], shutdown_on_exit=False).get_meter("x")
    record: Any = _histograms.recorder_of(_histograms.make_histogram(meter, "x", ""))
    assert record.func is _histograms._record_all


def test_an_sdk_that_is_built_otherwise_gets_them_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried out beforehand decides, not the version: a missing name is no failure of the user's."""
    _histograms._bulk_is_right.cache_clear()
    monkeypatch.setattr(_histograms, "_hash_attributes", lambda: pytest.fail)
    reader = InMemoryMetricReader()
    try:
        run(MeterProvider([reader], shutdown_on_exit=False))
    finally:
        _histograms._bulk_is_right.cache_clear()
    assert sum(point.count for point in points(reader, DURATION)) == 61


def test_histograms_say_exactly_what_happened(way: str) -> None:
    """Count, sum, extremes and buckets are those of the events; attributes tell the outcomes apart."""
    reader = InMemoryMetricReader()
    events = run(MeterProvider([reader], shutdown_on_exit=False))
    jobs = [event for event in events if event.type == "job"]
    found = {tuple(sorted(point.attributes.items())): point for point in points(reader, DURATION)}
    for outcome, error in (("ok", ()), ("error", (("error.type", "ValueError"),))):
        seconds = [(event.duration_ns or 0) / 1e9 for event in jobs if event.status == outcome]
        rest = (("spanloom.name", "job"), ("spanloom.outcome", outcome), ("spanloom.type", "job"))
        point = found.pop((*error, *rest))
        assert (point.count, point.sum) == (len(seconds), pytest.approx(sum(seconds)))
        assert (point.min, point.max) == (min(seconds), max(seconds))
        bounds = (*point.explicit_bounds, float("inf"))
        expected = Counter(next(i for i, bound in enumerate(bounds) if value <= bound) for value in seconds)
        assert {i: count for i, count in enumerate(point.bucket_counts) if count} == expected
    assert [dict(key)["spanloom.type"] for key in found] == ["batch"]
    (queue,) = points(reader, QUEUE)
    assert (queue.count, queue.sum) == (60, pytest.approx(sum((event.queue_ns or 0) / 1e9 for event in jobs)))


def test_views_and_readers_of_the_user_s_are_honoured(way: str) -> None:
    """Another aggregation, other attributes, deltas, two readers at once: each says every measurement once."""
    delta = InMemoryMetricReader({SdkHistogram: AggregationTemporality.DELTA})
    cumulative = InMemoryMetricReader()
    views = [
        View(instrument_name=DURATION, attribute_keys={"spanloom.type"}),
        View(instrument_name=QUEUE, aggregation=ExponentialBucketHistogramAggregation()),
    ]
    provider = MeterProvider([delta, cumulative], views=views, shutdown_on_exit=False)
    counts = []
    for _ in range(2):
        run(provider)
        counts.append(
            [
                {point.attributes["spanloom.type"]: point.count for point in points(reader, DURATION)}
                for reader in (delta, cumulative)
            ]
        )
    once, twice = {"job": 60, "batch": 1}, {"job": 120, "batch": 2}
    assert counts == [[once, once], [once, twice]]
    (queue,) = points(cumulative, QUEUE)
    assert (queue.count, queue.zero_count + sum(queue.positive.bucket_counts)) == (120, 120)


class Receiver:
    """A real OTLP/HTTP endpoint for metrics on loopback."""

    def __init__(self) -> None:
        requests: list[ExportMetricsServiceRequest] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                requests.append(ExportMetricsServiceRequest.FromString(body))
                answer = ExportMetricsServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.requests = requests
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_metrics_reach_a_collector(receiver: Receiver) -> None:
    """By OTLP: histograms in seconds, retries as a counter, what is in flight as an up-down counter."""
    exporter = OTLPMetricExporter(
        f"http://127.0.0.1:{receiver.server.server_port}/v1/metrics", compression=Compression.NoCompression
    )
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, 3_600_000)], shutdown_on_exit=False)
    otel = Setup(meter_provider=provider)
    in_flight: list[int] = []

    def exported() -> dict[str, Any]:
        request = receiver.requests[-1]
        (scope,) = request.resource_metrics[0].scope_metrics
        assert scope.scope.name == "spanloom"
        return {metric.name: metric for metric in scope.metrics}

    looked = asyncio.Event()

    async def flaky(number: int) -> None:
        if not receiver.requests and number == 3:
            await asyncio.to_thread(provider.force_flush)
            in_flight.extend(point.as_int for point in exported()["spanloom.jobs.in_flight"].sum.data_points)
            looked.set()
            raise OSError
        await looked.wait()
        await asyncio.sleep(0.1)

    policy = RetryPolicy(attempts=2, base_delay=0.001)
    otel.run(async_map(flaky, range(4), limit=4, desc="batch", retry=policy))
    assert otel.manager.flush(5)
    assert provider.force_flush()
    found = exported()
    assert in_flight == [4]
    assert [point.as_int for point in found["spanloom.jobs.in_flight"].sum.data_points] == [0]
    assert not found["spanloom.jobs.in_flight"].sum.is_monotonic
    (retried,) = found["spanloom.retries"].sum.data_points
    assert (retried.as_int, found["spanloom.retries"].sum.is_monotonic) == (1, True)
    duration = found[DURATION]
    assert duration.unit == found[QUEUE].unit == "s"
    by_type = Counter[str]()
    for point in duration.histogram.data_points:
        attributes = {entry.key: entry.value.string_value for entry in point.attributes}
        by_type[f"{attributes['spanloom.type']} {attributes['spanloom.outcome']}"] += point.count
    assert by_type == {"job ok": 4, "attempt ok": 4, "attempt error": 1, "backoff ok": 1, "batch ok": 1}
    assert sum(point.count for point in found[QUEUE].histogram.data_points) == 4
    otel.manager.close()
    provider.shutdown()
