"""Export in one line: what `configure` sets up, gives back, refuses, and does not touch."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from inspect import Parameter, signature
from pathlib import Path

import pytest
from opentelemetry import trace

from spanloom import CallbackManager, MissingDependencyError, async_map, get_callback_manager
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.otel import OpenTelemetryHandler, configure
from spanloom.handlers.otel._options import HandlerOptions
from spanloom.handlers.otel._place import Place
from tests.environments import run_program
from tests.handlers.collector import Collector, http_collector
from tests.waited import waited

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with http_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


async def job(number: int) -> None:
    await asyncio.sleep(0)


def run_jobs() -> None:
    asyncio.run(async_map(job, range(3), desc="batch"))


# set up, and undone --------------------------------------------------------------------------------------


def test_one_line_exports_every_event(collector: Collector) -> None:
    """Batch and jobs arrive; flush says so; nothing global is set."""
    configuration = configure()
    try:
        run_jobs()
        assert configuration.flush(5)
        assert [span.name for span in collector.spans].count("job") == 3
        assert len(collector.spans) == 4
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    finally:
        assert configuration.shutdown(5)


def test_shutdown_leaves_the_default_manager_as_it_was(collector: Collector) -> None:
    """Its handlers are those of before, what ended until then is exported, and no thread is left."""
    manager = get_callback_manager()
    debug = DebugHandler()
    manager.add_handler(debug)
    run_jobs()  # starts its thread
    before, threads = manager.handlers, set(threading.enumerate())
    with configure() as configuration:
        assert manager.handlers == [*before, configuration.handler]
        run_jobs()
    assert manager.handlers == before
    assert len(collector.spans) == 4
    run_jobs()
    assert len(collector.spans) == 4
    assert configuration.shutdown() is True  # a second time
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {thread.name for thread in set(threading.enumerate()) - threads} == set()
    manager.remove_handler(debug)


def test_it_can_be_called_again_after_a_shutdown(collector: Collector) -> None:
    """Each time a provider of its own."""
    for _ in range(2):
        with configure():
            run_jobs()
    assert len(collector.spans) == 8


def test_a_second_call_returns_the_same(collector: Collector) -> None:
    """Two parts of a program that both ask for it get one export."""
    with configure(max_text=99) as first:
        assert configure(max_text=99) is first
        run_jobs()
    assert len(collector.spans) == 4


def test_a_second_call_with_other_arguments_is_refused(collector: Collector) -> None:
    """The message says what to do; what was set up first goes on."""
    with configure():
        with pytest.raises(RuntimeError, match=r"other arguments; call shutdown\(\)"):
            configure(max_text=99)
        with pytest.raises(RuntimeError, match="other arguments"):
            configure(set_global=True)
        run_jobs()
    assert len(collector.spans) == 4


def test_a_second_call_puts_the_handler_back_after_the_manager_was_closed(collector: Collector) -> None:
    """A manager that was closed has no handlers any more."""
    with configure() as configuration:
        get_callback_manager().close()
        assert configure() is configuration
        run_jobs()
    assert len(collector.spans) == 4


def test_an_option_that_is_not_allowed_leaves_nothing_behind(collector: Collector) -> None:
    """The error is the handler's own, and the next call starts afresh."""
    threads = set(threading.enumerate())
    with pytest.raises(ValueError, match="max_text"):
        configure(max_text=0)
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {thread.name for thread in set(threading.enumerate()) - threads} == set()
    with configure():
        run_jobs()
    assert len(collector.spans) == 4


def test_spans_can_be_kept_on_disk_until_they_are_taken(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With ``spool=``, what a dead collector did not take is sent by the next process that configures the same."""
    with monkeypatch.context() as patched:
        patched.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        configuration = configure(spool=tmp_path)
        run_jobs()
        assert configuration.shutdown(0.5) is False
    program = f"""
import time
from spanloom import get_callback_manager
from spanloom.handlers.otel import configure
with configure(spool={str(tmp_path)!r}) as configuration:
    get_callback_manager().emit(name="next")
    assert configuration.flush(5)
"""
    run_program(program, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert sorted(span.name for span in collector.spans) == ["batch", "job", "job", "job", "next"]


def test_options_are_those_of_the_handler() -> None:
    """What can be said to the handler can be said to `configure`."""
    parameters = signature(OpenTelemetryHandler).parameters.values()
    named = {one.name for one in parameters if one.kind is Parameter.KEYWORD_ONLY}
    assert set(HandlerOptions.__annotations__) == named


def test_a_handler_that_is_there_gives_its_place_until_the_end(collector: Collector) -> None:
    """Spans are not exported twice, and the other handler is back where it was afterwards."""
    manager = get_callback_manager()
    last = DebugHandler()
    other = OpenTelemetryHandler()
    manager.set_handlers([other, last])
    with configure():
        assert other not in manager.handlers
        run_jobs()
    assert manager.handlers == [other, last]
    assert len(collector.spans) == 4
    run_jobs()
    manager.close(5)
    assert len(collector.spans) == 8


def test_the_environment_and_the_code_are_not_heard_twice(collector: Collector) -> None:
    """``SPANLOOM_HANDLERS=otel`` beside a call of `configure`, in either order: each span arrives once."""
    for order in ("configure(); get_callback_manager()", "get_callback_manager(); configure()"):
        program = f"""
import asyncio
from spanloom import async_map, get_callback_manager
from spanloom.handlers.otel import configure
{order}
async def job(number):
    await asyncio.sleep(0)
asyncio.run(async_map(job, range(3)))
"""
        run_program(program, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, SPANLOOM_HANDLERS="otel,debug")
    assert len(collector.spans) == 8


def test_the_default_manager_is_made_when_it_is_needed(collector: Collector) -> None:
    """A program may set the variables that describe it after `configure`."""
    program = """
import os
from spanloom.handlers.otel import configure
configuration = configure()
assert configuration.flush() is True
os.environ["SPANLOOM_RECORDER"] = "7"
from spanloom import get_callback_manager
manager = get_callback_manager()
assert manager.recorder.capacity == 7
assert manager.handlers == [configuration.handler]
"""
    run_program(program, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)


def test_a_place_that_was_left_before_there_is_a_manager_stays_empty(collector: Collector) -> None:
    """What was shut down in the meantime is not put in later."""
    program = """
from spanloom.handlers.otel import configure
assert configure().shutdown() is True
from spanloom import get_callback_manager
assert get_callback_manager().handlers == []
"""
    run_program(program, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)


def test_places_are_given_back_in_any_order() -> None:
    """Whoever came last of those that are left is in; at the end, who was there before."""
    manager = CallbackManager(handlers := [OpenTelemetryHandler(), DebugHandler()])
    place = Place()
    place._manager, place._is_waiting = manager, True
    first, second = OpenTelemetryHandler(), OpenTelemetryHandler()
    place.take(first)
    place.take(second)
    assert [one for one in manager.handlers if isinstance(one, OpenTelemetryHandler)] == [second]
    assert place.leave(first, 1)
    assert [one for one in manager.handlers if isinstance(one, OpenTelemetryHandler)] == [second]
    assert place.leave(second, 1)
    assert manager.handlers == handlers
    place.take(first)
    place.take(second)
    assert place.leave(second, 1)
    assert first in manager.handlers
    assert place.leave(first, 1)
    assert place.leave(first, 1)
    assert manager.handlers == handlers
    manager.close()


# the end of the process ------------------------------------------------------------------------------------

SCRIPT = """
import asyncio
from spanloom import async_map
from spanloom.handlers.otel import configure

configuration = configure(set_global={set_global})

async def job(number):
    await asyncio.sleep(0)

asyncio.run(async_map(job, range(400), limit=50, desc="batch"))
"""


def test_a_program_that_just_ends_has_exported_everything(collector: Collector) -> None:
    """Spans and metrics of the last moment arrive, and so does the last span of the user's own."""
    script = SCRIPT.format(set_global=True) + "\n".join(
        ["from opentelemetry import trace", "trace.get_tracer('mine').start_span('mine').end()"]
    )
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRICS_EXPORTER": "otlp"}
    assert run_program(script, **variables).stderr == ""
    assert len(collector.spans) == 402
    assert "mine" in {span.name for span in collector.spans}
    (jobs,) = [
        point
        for point in collector.metrics["spanloom.event.duration"].histogram.data_points
        if "job" in {item.value.string_value for item in point.attributes}
    ]
    assert jobs.count == 400


def test_a_program_ends_in_time_with_a_hung_collector(collector: Collector) -> None:
    """The end of the process waits for its deadline, not for the SDK's."""
    collector.hang = True
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRICS_EXPORTER": "otlp"}
    done = run_program(
        f"{SCRIPT.format(set_global=False)}\nimport time\nprint(time.monotonic())", **variables
    )
    assert time.monotonic() - float(done.stdout) < 8


def test_shutdown_keeps_its_deadline(collector: Collector) -> None:
    """With a collector that does not answer, it says False, in time."""
    collector.hang = True
    configuration = configure()
    run_jobs()
    with waited() as seconds:
        assert configuration.shutdown(0.3) is False
    assert seconds() < 1
    collector.hang = False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forked children on this system")
def test_a_forked_child_exports_its_own(collector: Collector) -> None:
    """What was set up before a fork works on both sides of it."""
    program = """
import asyncio, os
from spanloom import async_map
from spanloom.handlers.otel import configure

configuration = configure()

async def job(number):
    await asyncio.sleep(0)

asyncio.run(async_map(job, range(3), desc="parent"))
child = os.fork()
if not child:
    asyncio.run(async_map(job, range(3), desc="child"))
    os._exit(0 if configuration.shutdown(5) else 1)
assert os.waitpid(child, 0)[1] == 0
assert configuration.shutdown(5)
"""
    run_program(program, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, PYTHONWARNINGS="ignore")
    names = [span.name for span in collector.spans]
    assert sorted(name for name in names if name != "job") == ["child", "parent"]
    assert len(names) == 8


# the global providers ----------------------------------------------------------------------------------------


def test_the_global_providers_are_taken_when_asked(collector: Collector) -> None:
    """Other libraries then use them; a second program part cannot take them again."""
    program = """
from opentelemetry import metrics, trace
from spanloom.handlers.otel import configure
configuration = configure(set_global=True)
assert trace.get_tracer_provider() is configuration.tracer_provider
assert metrics.get_meter_provider() is configuration.meter_provider
configuration.shutdown()
try:
    configure(set_global=True)
except RuntimeError as error:
    print(error)
with configure():
    pass
"""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRICS_EXPORTER": "otlp"}
    said = run_program(program, **variables).stdout
    assert "there is a global TracerProvider already" in said
    assert "leave set_global out" in said


# what the environment gets wrong -----------------------------------------------------------------------------


def test_nothing_to_export_needs_no_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no exporter of either signal, no event is even looked at."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    before = get_callback_manager().handlers
    with configure() as configuration:
        assert configuration.handler is None
        assert get_callback_manager().handlers == before
        assert configuration.flush()


def test_spans_are_written_to_the_console(capfd: pytest.CaptureFixture[str]) -> None:
    """``OTEL_TRACES_EXPORTER=console`` is for trying it out."""
    program = SCRIPT.format(set_global=False).replace("400", "3")
    assert run_program(program, OTEL_TRACES_EXPORTER="console").stdout.count('"name": "job"') == 3


def test_a_handler_by_name_heeds_the_exporter_by_name() -> None:
    """``SPANLOOM_HANDLERS=otel`` needs no endpoint where spans go to the console."""
    program = """
import asyncio
from spanloom import async_map
async def job(number):
    await asyncio.sleep(0)
asyncio.run(async_map(job, range(3), desc="batch"))
"""
    done = run_program(program, OTEL_TRACES_EXPORTER="console", SPANLOOM_HANDLERS="otel")
    assert done.stdout.count('"name": "job"') == 3


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "otpl"}, "OTEL_TRACES_EXPORTER names 'otpl'; installed are console, otlp"),
        ({"OTEL_METRICS_EXPORTER": "statsd"}, "OTEL_METRICS_EXPORTER names 'statsd'; installed are console"),
        ({"OTEL_PYTHON_ID_GENERATOR": "xray"}, "OTEL_PYTHON_ID_GENERATOR names 'xray'; installed are random"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "'http/json'; it can be http/protobuf or grpc"),
    ],
)
def test_a_name_that_is_unknown_is_refused(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable, what it was and what it can be."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said):
        configure()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that is not installed, and the reader of the configuration file: the message says what to install."""
    from spanloom.handlers.otel import _environment

    monkeypatch.setattr(_environment, "entry_points", lambda **_: _NoEntryPoints())
    with pytest.raises(MissingDependencyError, match=r"pip install 'spanloom\[otlp\]'"):
        configure()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(MissingDependencyError, match=r"pip install 'spanloom\[otlp-grpc\]'"):
        configure()
    for name in [name for name in sys.modules if name.startswith("opentelemetry.configuration")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.configuration", None)
    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    with pytest.raises(MissingDependencyError, match="pip install opentelemetry-configuration"):
        configure()


class _NoEntryPoints:
    names: frozenset[str] = frozenset()
