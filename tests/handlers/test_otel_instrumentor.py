"""`opentelemetry-instrument` finds the library, instruments a program that knows nothing of it, and lets go."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanloom import MissingDependencyError, async_map, get_callback_manager
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.otel import OpenTelemetryHandler, configure
from spanloom.handlers.otel.instrumentor import SpanloomInstrumentor
from tests.handlers.collector import Collector, grpc_collector, http_collector

COMMAND = Path(sysconfig.get_path("scripts")) / "opentelemetry-instrument"


pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with http_collector() as collector:
        yield collector


async def job(number: int) -> None:
    await asyncio.sleep(0)


def run_jobs() -> None:
    asyncio.run(async_map(job, range(3), desc="batch"))


# the command ---------------------------------------------------------------------------------------------

SCRIPT = """
import asyncio
import os

os.environ.setdefault("SPANLOOM_RECORDER", "7")

from spanloom import async_map, get_callback_manager


async def job(number):
    await asyncio.sleep(0)
    return number


print(asyncio.run(async_map(job, range(100), limit=10, desc="hundred"))[-1])
print(get_callback_manager().recorder.capacity)
"""


def instrument(folder: Path, script: str = SCRIPT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script by the command, as a user's shell would."""
    file = folder / "script.py"
    file.write_text(script)
    done = subprocess.run(
        [str(COMMAND), sys.executable, str(file)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("99\n"), done.stdout
    return done


HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_LOGS_EXPORTER": "none"}


def test_an_unmodified_script_is_instrumented(collector: Collector, tmp_path: Path) -> None:
    """With the distribution of OpenTelemetry, its spans and metrics go where the environment says."""
    done = instrument(
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_SERVICE_NAME="script",
        **HTTP,
    )
    assert done.stderr == ""
    assert done.stdout == "99\n7\n"  # the script's own variable still counts
    assert len(collector.spans) == len({span.span_id for span in collector.spans}) == 101
    (batch,) = [span for span in collector.spans if span.name == "hundred"]
    assert {span.parent_span_id for span in collector.spans} == {b"", batch.span_id}
    assert collector.resource["service.name"] == "script"
    assert collector.resource["telemetry.auto.version"]
    assert "spanloom.event.duration" in collector.metrics


def test_the_default_of_the_distribution_is_grpc(tmp_path: Path) -> None:
    """Whatever the configurator has chosen is used: here, a protocol that we would not have."""
    with grpc_collector() as collector:
        instrument(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_LOGS_EXPORTER="none")
        assert len(collector.spans) == 101


def test_it_works_without_a_distribution(collector: Collector, tmp_path: Path) -> None:
    """Where nothing configures the SDK, `OTEL_PYTHON_DISTRO` and `OTEL_PYTHON_CONFIGURATOR` naming none, we do."""
    instrument(
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_PYTHON_DISTRO="none",
        OTEL_PYTHON_CONFIGURATOR="none",
    )
    assert len(collector.spans) == 101


@pytest.mark.parametrize("names", ["spanloom", "flask, spanloom", "*"])
def test_it_can_be_left_out(collector: Collector, tmp_path: Path, names: str) -> None:
    """`OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` names it, or everything."""
    instrument(
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=names,
        OTEL_METRICS_EXPORTER="none",
        **HTTP,
    )
    assert collector.requests == []


@pytest.mark.parametrize("also", ["SPANLOOM_HANDLERS", "configure"])
def test_asked_for_twice_it_is_heard_once(collector: Collector, tmp_path: Path, also: str) -> None:
    """The environment and the program may ask for the same: no span arrives twice."""
    script, variables = SCRIPT, {}
    if also == "configure":
        script = "from spanloom.handlers.otel import configure\nconfigure()\n" + SCRIPT
    else:
        variables[also] = "otel"
    instrument(tmp_path, script, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **HTTP, **variables)
    assert len(collector.spans) == 101


def test_a_program_that_does_not_use_it_is_left_alone(collector: Collector, tmp_path: Path) -> None:
    """Nothing is exported, and no thread of ours is started."""
    script = """
import threading
print(99)
assert not [thread.name for thread in threading.enumerate() if "spanloom" in thread.name]
"""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRICS_EXPORTER": "none"}
    assert instrument(tmp_path, script, **HTTP, **variables).stderr == ""
    assert collector.requests == []


def test_the_entry_point_is_the_instrumentor() -> None:
    """The group and the name are those that the command looks for."""
    (point,) = entry_points(group="opentelemetry_instrumentor", name="spanloom")
    assert point.load() is SpanloomInstrumentor


# by hand -------------------------------------------------------------------------------------------------


def in_memory() -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def test_uninstrumenting_leaves_the_default_manager_as_it_was() -> None:
    """Instrumented, let go, and instrumented again: spans come while it is, and its handlers are those of before."""
    manager = get_callback_manager()
    other, debug = OpenTelemetryHandler(in_memory()[0]), DebugHandler()
    manager.set_handlers([other, debug])
    instrumentor = SpanloomInstrumentor()
    for _ in range(2):
        provider, exporter = in_memory()
        instrumentor.instrument(tracer_provider=provider)
        assert instrumentor.is_instrumented_by_opentelemetry
        assert other not in manager.handlers
        run_jobs()
        instrumentor.uninstrument()
        assert manager.handlers == [other, debug]
        assert len(exporter.get_finished_spans()) == 4
        run_jobs()
        manager.flush()
        assert len(exporter.get_finished_spans()) == 4
    manager.close()


def test_a_second_instrument_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """As of any instrumentor: the first one stays, and a warning says so."""
    first, second = in_memory(), in_memory()
    instrumentor = SpanloomInstrumentor()
    instrumentor.instrument(tracer_provider=first[0])
    instrumentor.instrument(tracer_provider=second[0])
    assert "already instrumented" in caplog.text
    run_jobs()
    instrumentor.uninstrument()
    assert len(first[1].get_finished_spans()) == 4
    assert second[1].get_finished_spans() == ()
    with caplog.at_level(logging.WARNING):
        instrumentor.uninstrument()
    assert "already uninstrumented" in caplog.text
    assert get_callback_manager().handlers == []


def test_providers_and_options_are_handed_on() -> None:
    """What `instrument` is given is what the handler has."""
    provider, exporter = in_memory()
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    instrumentor = SpanloomInstrumentor()
    instrumentor.instrument(tracer_provider=provider, meter_provider=meters, max_text=3)
    try:
        with get_callback_manager().event(name="step", payload={"text": "abcdef"}):
            pass
    finally:
        instrumentor.uninstrument()
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert "abcdef" not in span.attributes.values()
    data = reader.get_metrics_data()
    assert data is not None
    assert data.resource_metrics
    meters.shutdown()


def test_what_configure_has_set_up_comes_back(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    """Instrumenting takes the place of the configured handler, and gives it back."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    provider, exporter = in_memory()
    instrumentor = SpanloomInstrumentor()
    with configure():
        instrumentor.instrument(tracer_provider=provider)
        run_jobs()
        instrumentor.uninstrument()
        run_jobs()
    assert len(exporter.get_finished_spans()) == 4
    assert len(collector.spans) == 4
    assert get_callback_manager().handlers == []


def test_it_depends_on_nothing_but_itself() -> None:
    """The instrumentor comes with what it instruments: there is no version of it to be checked."""
    assert list(SpanloomInstrumentor().instrumentation_dependencies()) == []


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without opentelemetry-instrumentation, the module says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.instrumentor", None)
    monkeypatch.delitem(sys.modules, "spanloom.handlers.otel.instrumentor")
    with pytest.raises(MissingDependencyError, match=r"pip install 'spanloom\[instrument\]'"):
        importlib.import_module("spanloom.handlers.otel.instrumentor")
