"""Where spans go: given, global or own providers, a real OTLP receiver, deadlines, and no loss on the way."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.exceptions import MissingDependencyError
from spanloom.handlers.otel import OpenTelemetryHandler
from tests.environments import run_program
from tests.handlers.otlp import Receiver
from tests.waited import waited

OTLP = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in OTLP:
        monkeypatch.delenv(variable, raising=False)


PROGRAM = """
import asyncio
from opentelemetry import trace
from spanloom import _wiring
from spanloom.callbacks import get_callback_manager
from spanloom.concurrency.map import async_map

async def job(number):
    await asyncio.sleep(0)
    if number == 3:
        raise ValueError("three")

asyncio.run(async_map(job, range(400), limit=50, desc="hundreds", on_error="return"))
assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
"""


@pytest.mark.parametrize(
    ("variable", "path", "posted"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "", "/v1/traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/custom", "/custom"),
    ],
)
def test_a_run_reaches_the_endpoint_in_the_environment(
    receiver: Receiver, variable: str, path: str, posted: str
) -> None:
    """An unmodified program exports every span by OTLP; the global provider stays untouched."""
    variables = {
        variable: receiver.url + path,
        "OTEL_SERVICE_NAME": "my-pipeline",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "SPANLOOM_HANDLERS": "otel",
    }
    done = run_program(PROGRAM, **variables)
    assert done.stderr == ""
    assert {path for path, _ in receiver.requests} == {posted}
    spans = receiver.spans()
    assert len(spans) == 401
    assert len({span.span_id for span in spans}) == 401
    (batch,) = [span for span in spans if span.name == "hundreds"]
    jobs = [span for span in spans if span.name == "job"]
    assert {span.parent_span_id for span in jobs} == {batch.span_id}
    assert {span.trace_id for span in spans} == {batch.trace_id}
    assert all(
        batch.start_time_unix_nano
        <= span.start_time_unix_nano
        <= span.end_time_unix_nano
        <= batch.end_time_unix_nano
        for span in jobs
    )
    (failed,) = [span for span in jobs if span.status.code == 2]
    assert failed.status.message == "three"
    assert [event.name for event in failed.events] == ["exception"]
    resource = receiver.requests[0][1].resource_spans[0].resource
    assert {item.key: item.value.string_value for item in resource.attributes}[
        "service.name"
    ] == "my-pipeline"


def test_a_sampler_in_the_environment_is_obeyed(receiver: Receiver) -> None:
    """`OTEL_TRACES_SAMPLER` decides, as for any program that uses the SDK."""
    run_program(
        PROGRAM,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_TRACES_SAMPLER="always_off",
        SPANLOOM_HANDLERS="otel",
    )
    assert receiver.requests == []


@pytest.mark.parametrize("variable", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_environment_can_switch_it_off(receiver: Receiver, variable: dict[str, str]) -> None:
    """What switches the SDK off switches us off, and the program runs on."""
    run_program(PROGRAM, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, SPANLOOM_HANDLERS="otel", **variable)
    assert receiver.requests == []


def test_a_global_provider_is_used_and_goes_before_the_environment(receiver: Receiver) -> None:
    """A program that has set up OpenTelemetry finds our spans in its own pipeline, and keeps it."""
    program = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from spanloom.callbacks import CallbackManager
from spanloom.handlers.otel import OpenTelemetryHandler

manager = CallbackManager([OpenTelemetryHandler()])  # before there is a provider
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with manager.event(name="step"):
    pass
manager.close()
assert trace.get_tracer_provider() is provider
with provider.get_tracer("mine").start_as_current_span("after the close"):
    pass
print([span.name for span in exporter.get_finished_spans()])
"""
    done = run_program(program, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert done.stdout == "['step', 'after the close']\n"
    assert receiver.requests == []


def test_a_handler_that_has_nowhere_to_send_spans_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log tells the three ways out; the work goes on, and nothing is quarantined."""
    manager = CallbackManager([OpenTelemetryHandler()])
    for _ in range(3):
        with manager.event(name="step"):
            pass
    manager.close()
    (record,) = caplog.records
    for words in ("tracer_provider", "global", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        assert words in record.getMessage()


@pytest.mark.parametrize(("protocol", "extra"), [("", "spanloom[otlp]"), ("grpc", "spanloom[otlp-grpc]")])
def test_a_missing_exporter_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, protocol: str, extra: str
) -> None:
    """The message says what to install."""
    for name in list(sys.modules):
        if name.startswith("opentelemetry.exporter.otlp"):
            monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name.startswith("opentelemetry.exporter.otlp"):
                raise ModuleNotFoundError(name)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    with pytest.raises(MissingDependencyError) as caught:
        OpenTelemetryHandler()
    assert f"pip install '{extra}'" in str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_an_unknown_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what was given and what is allowed."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    with pytest.raises(ValueError, match=r"'http/json'.*http/protobuf or grpc"):
        OpenTelemetryHandler()


# flush, close, deadlines ---------------------------------------------------------------------------------


class Slow(SpanExporter):
    """Counts spans, and takes its time over every batch of them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.count = 0
        self.is_shut_down = False
        self.release = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.release.wait(self.seconds)
        self.count += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.is_shut_down = True


def provider_of(exporter: SpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def test_a_burst_into_a_slow_exporter_loses_nothing() -> None:
    """The SDK's queue of 2,048 spans drops what comes too fast; it is emptied before it is full."""
    exporter = Slow(0.02)
    provider = provider_of(exporter)
    handler = OpenTelemetryHandler(provider, max_spans_per_trace=None)
    manager = CallbackManager([handler], raise_handler_errors=True)

    async def job(number: int) -> None:
        pass

    with use_callback_manager(manager):
        asyncio.run(async_map(job, range(10_000), limit=64))
    assert manager.close(30)
    assert exporter.count == 10_001
    stats = manager.stats()
    assert stats.dropped == 0
    provider.shutdown()


def test_flush_and_close_keep_their_deadline_with_a_hung_exporter() -> None:
    """Nobody waits for a collector that does not answer, and a provider that was given is not shut down."""
    exporter = Slow(60)
    provider = provider_of(exporter)
    handler = OpenTelemetryHandler(provider)
    manager = CallbackManager([handler], raise_handler_errors=True)
    with manager.event(name="step"):
        pass
    with waited() as seconds:
        manager.flush(0.3)
    assert seconds() < 1
    assert handler.flush(0.1) is False
    with waited() as seconds:
        manager.close(0.3)
    assert seconds() < 1
    assert not exporter.is_shut_down
    exporter.release.set()
    provider.shutdown()


def test_an_own_provider_that_hangs_is_not_waited_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a flush that ran out of time, the close does not wait once more for the same request."""
    receiver = Receiver(hang_s=60)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    manager = CallbackManager([OpenTelemetryHandler()], raise_handler_errors=True)
    with manager.event(name="step"):
        pass
    started = time.monotonic()
    with waited() as seconds:
        manager.close(0.3)
    assert time.monotonic() - started > 0.2
    assert seconds() < 1
    receiver.close()


def test_a_program_ends_in_time_with_a_hung_collector() -> None:
    """The interpreter's exit does not wait for an endpoint that accepts and never answers."""
    receiver = Receiver(hang_s=60)
    try:
        program = f"{PROGRAM}\nimport time\nprint(time.monotonic())"
        done = run_program(program, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, SPANLOOM_HANDLERS="otel")
        assert time.monotonic() - float(done.stdout) < 8
    finally:
        receiver.close()


def test_flush_tells_what_the_provider_said() -> None:
    """True only if everything was exported in time."""
    exporter = Slow(0)
    provider = provider_of(exporter)
    handler = OpenTelemetryHandler(provider)
    assert handler.flush(1) is True  # nothing yet
    manager = CallbackManager([handler])
    with manager.event(name="step"):
        pass
    manager.flush(5)
    assert handler.flush(5) is True
    assert exporter.count == 1
    provider.shutdown()


def test_a_handler_that_was_closed_can_be_added_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own provider is shut down by the close; the next run has a new one."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    before = set(threading.enumerate())  # providers of other tests among them
    handler = OpenTelemetryHandler()
    for name in ("first", "second"):
        manager = CallbackManager([handler], raise_handler_errors=True)
        with manager.event(name=name):
            pass
        assert manager.close(5)
    assert [span.name for span in receiver.spans()] == ["first", "second"]
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert "OtelBatchSpanRecordProcessor" not in left


def test_a_failing_provider_fails_nobody_s_flush() -> None:
    """A provider whose flush raises is a flush that did not succeed."""

    class Broken(TracerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            raise OSError

    handler = OpenTelemetryHandler(Broken(shutdown_on_exit=False))
    manager = CallbackManager([handler], raise_handler_errors=True)
    with manager.event(name="step"):
        pass
    manager.flush(5)
    assert handler.flush(1) is False
    manager.close()
