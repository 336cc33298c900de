"""Every variable that the OpenTelemetry SDK honours takes effect for our spans and metrics."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import opentelemetry.environment_variables
import opentelemetry.instrumentation.environment_variables
import opentelemetry.sdk.environment_variables
import pytest
from opentelemetry import trace

from spanloom import async_map
from spanloom.handlers.otel import configure
from tests.handlers.collector import (
    Certificate,
    Collector,
    grpc_collector,
    http_collector,
    make_certificate,
    server_context,
)
from tests.waited import waited

MODULES = (
    opentelemetry.environment_variables,
    opentelemetry.sdk.environment_variables,
    opentelemetry.instrumentation.environment_variables,
)

LOGS = "of logs, which we do not make"
OTHER_EXPORTER = "read by the exporter of that name, where somebody has installed it and asks for it"
NOT_READ = "the SDK itself does not heed it"
ELSEWHERE = "tested with opentelemetry-instrument, in test_otel_instrumentor.py"

NOT_HERE = {
    "OTEL_LOGS_EXPORTER": LOGS,
    "OTEL_PYTHON_LOGGER_PROVIDER": LOGS,
    "OTEL_PYTHON_LOGGER_CONFIGURATOR": LOGS,
    "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": LOGS,
    "OTEL_BLRP_SCHEDULE_DELAY": LOGS,
    "OTEL_BLRP_EXPORT_TIMEOUT": LOGS,
    "OTEL_BLRP_MAX_QUEUE_SIZE": LOGS,
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": LOGS,
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": LOGS,
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT": LOGS,
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT": OTHER_EXPORTER,
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT": OTHER_EXPORTER,
    "OTEL_EXPORTER_PROMETHEUS_HOST": OTHER_EXPORTER,
    "OTEL_EXPORTER_PROMETHEUS_PORT": OTHER_EXPORTER,
    "OTEL_LOG_LEVEL": NOT_READ,
    "OTEL_METRIC_EXPORT_TIMEOUT": "for slow callbacks of asynchronous instruments; ours read a number",
    "OTEL_PYTHON_CONTEXT": "how contexts are kept, not what is exported",
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "metrics of the SDK's exporters about themselves, not ours",
    "OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH": "of gevent, which has no asyncio",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "of HTTP, database and RPC attributes, which our spans do not have",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ELSEWHERE,
    "OTEL_PYTHON_DISTRO": ELSEWHERE,
    "OTEL_PYTHON_CONFIGURATOR": ELSEWHERE,
}


@pytest.fixture(autouse=True)
def no_bundle_of_the_machine(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # requests lets one go before the certificate that its caller names.
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with http_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


async def job(number: int) -> None:
    span = trace.get_current_span()
    other = trace.SpanContext(trace_id=1, span_id=2 + number, is_remote=True)
    for key in ("first", "second"):
        span.set_attribute(f"mine.{key}", "abcdefghijklmnop")
        span.add_event(key, {"one": 1, "two": 2})
        span.add_link(other, {"one": 1, "two": 2})


def export(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], patience_s: float = 3) -> bool:
    """Run three jobs with the variables set; return whether all was exported in time."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    configuration = configure()
    try:
        asyncio.run(async_map(job, range(3), limit=2, desc="batch"))
        return configuration.flush(patience_s)
    finally:
        configuration.shutdown(patience_s)


# one entry a variable ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What is set beside the endpoint, and what shows at the collector that it has an effect."""

    variables: dict[str, str]
    holds: Callable[[Collector], bool]


def _spans_of(collector: Collector) -> list[Any]:
    assert len(collector.spans) == 4
    return collector.spans


def _histogram(collector: Collector) -> Any:
    return collector.metrics["spanloom.event.duration"]


DELTA = 1
METRICS = {"OTEL_METRICS_EXPORTER": "otlp"}
HTTP = {
    "OTEL_RESOURCE_ATTRIBUTES": Case(
        {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=here"},
        lambda seen: seen.resource["deployment.environment.name"] == "here",
    ),
    "OTEL_SERVICE_NAME": Case(
        {"OTEL_SERVICE_NAME": "pipeline", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other"},
        lambda seen: seen.resource["service.name"] == "pipeline",
    ),
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": Case(
        {"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process"},
        lambda seen: seen.resource["process.pid"] == str(os.getpid()),
    ),
    "OTEL_SDK_DISABLED": Case({"OTEL_SDK_DISABLED": "true", **METRICS}, lambda seen: seen.requests == []),
    "OTEL_TRACES_EXPORTER": Case(
        {"OTEL_TRACES_EXPORTER": "none", **METRICS},
        lambda seen: seen.of("Trace") == [] and seen.of("Metrics") != [],
    ),
    "OTEL_TRACES_SAMPLER": Case({"OTEL_TRACES_SAMPLER": "always_off"}, lambda seen: seen.spans == []),
    "OTEL_TRACES_SAMPLER_ARG": Case(
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, lambda seen: seen.spans == []
    ),
    "OTEL_ATTRIBUTE_COUNT_LIMIT": Case(
        {"OTEL_ATTRIBUTE_COUNT_LIMIT": "2"},
        lambda seen: all(len(span.attributes) == 2 for span in _spans_of(seen)),
    ),
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": Case(
        {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2"},
        lambda seen: all(
            len(span.attributes) == 2 and span.dropped_attributes_count for span in _spans_of(seen)
        ),
    ),
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": Case(
        {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "5"},
        lambda seen: _longest_text(seen) == 5,
    ),
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": Case(
        {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "5"}, lambda seen: _longest_text(seen) == 5
    ),
    "OTEL_SPAN_EVENT_COUNT_LIMIT": Case(
        {"OTEL_SPAN_EVENT_COUNT_LIMIT": "1"},
        lambda seen: {len(span.events) for span in _spans_of(seen)} == {0, 1},
    ),
    "OTEL_SPAN_LINK_COUNT_LIMIT": Case(
        {"OTEL_SPAN_LINK_COUNT_LIMIT": "1"},
        lambda seen: {len(span.links) for span in _spans_of(seen)} == {0, 1},
    ),
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": Case(
        {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "1"},
        lambda seen: {len(event.attributes) for span in _spans_of(seen) for event in span.events} == {1},
    ),
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": Case(
        {"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "1"},
        lambda seen: {len(link.attributes) for span in _spans_of(seen) for link in span.links} == {1},
    ),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": Case(
        {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"},
        lambda seen: len(_spans_of(seen)) == 4 and len(seen.requests) == 2,
    ),
    "OTEL_EXPORTER_OTLP_HEADERS": Case(
        {"OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue%20one"},
        lambda seen: seen.requests[0].headers["x-tenant"] == "blue one",
    ),
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": Case(
        {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-tenant=blue", "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=red"},
        lambda seen: seen.requests[0].headers["x-tenant"] == "blue",
    ),
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS": Case(
        {"OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x-tenant=blue", **METRICS},
        lambda seen: [request.headers.get("x-tenant") for request in seen.of("Metrics")][:1] == ["blue"],
    ),
    "OTEL_EXPORTER_OTLP_COMPRESSION": Case(
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
        lambda seen: seen.requests[0].headers["content-encoding"] == "gzip",
    ),
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": Case(
        {"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "deflate"},
        lambda seen: seen.requests[0].headers["content-encoding"] == "deflate",
    ),
    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": Case(
        {"OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "gzip", **METRICS},
        lambda seen: seen.of("Metrics")[0].headers["content-encoding"] == "gzip",
    ),
    "OTEL_METRICS_EXPORTER": Case(METRICS, lambda seen: _histogram(seen).histogram.data_points != []),
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": Case(
        {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta", **METRICS},
        lambda seen: _histogram(seen).histogram.aggregation_temporality == DELTA,
    ),
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": Case(
        {
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram",
            **METRICS,
        },
        lambda seen: _histogram(seen).exponential_histogram.data_points != [],
    ),
    "OTEL_METRICS_EXEMPLAR_FILTER": Case(
        {"OTEL_METRICS_EXEMPLAR_FILTER": "always_on", **METRICS},
        lambda seen: any(point.exemplars for point in _histogram(seen).histogram.data_points),
    ),
}


def _longest_text(collector: Collector) -> int:
    return max(len(item.value.string_value) for span in _spans_of(collector) for item in span.attributes)


@pytest.mark.parametrize("variable", HTTP)
def test_a_variable_takes_effect(
    variable: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set in the environment, it shows in what arrives at a collector."""
    case = HTTP[variable]
    assert variable in case.variables
    export(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **case.variables})
    assert case.holds(collector)


@pytest.mark.parametrize("variable", HTTP)
def test_without_the_variable_it_is_otherwise(
    variable: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What shows the effect of a variable does not show without it."""
    case = HTTP[variable]
    others = {name: value for name, value in case.variables.items() if name != variable}
    export(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **others})
    try:
        assert not case.holds(collector)
    except (KeyError, IndexError):
        pass  # nothing like it is there at all


# endpoints and protocols -------------------------------------------------------------------------------------

ENDPOINTS = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("", {"/v1/traces", "/v1/metrics"}),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ("/my/traces", {"/my/traces"}),
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": ("/my/metrics", {"/my/metrics"}),
}


@pytest.mark.parametrize("variable", ENDPOINTS)
def test_an_endpoint_is_where_it_is_sent(
    variable: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The general one is a base for both signals; one of a signal is taken as it is."""
    path, posted = ENDPOINTS[variable]
    traces = "none" if "METRICS" in variable else "otlp"
    metrics = "none" if "TRACES" in variable else "otlp"
    wanted = {"OTEL_TRACES_EXPORTER": traces, "OTEL_METRICS_EXPORTER": metrics}
    export(monkeypatch, {variable: collector.url + path, **wanted})
    assert {request.path for request in collector.requests} == posted


PROTOCOLS = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": {"Trace", "Metrics"},
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": {"Trace"},
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": {"Metrics"},
}


@pytest.mark.parametrize("variable", PROTOCOLS)
def test_a_protocol_is_spoken(variable: str, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """``grpc`` for a signal sends it by gRPC, and the other one by HTTP all the same."""
    with grpc_collector() as by_grpc:
        endpoints = {
            f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT": (
                by_grpc.url if kind in PROTOCOLS[variable] else f"{collector.url}/v1/{signal}"
            )
            for signal, kind in (("traces", "Trace"), ("metrics", "Metrics"))
        }
        export(monkeypatch, {variable: "grpc", **METRICS, **endpoints})
        for kind in ("Trace", "Metrics"):
            assert bool(by_grpc.of(kind)) == (kind in PROTOCOLS[variable])
            assert bool(collector.of(kind)) == (kind not in PROTOCOLS[variable])


# time --------------------------------------------------------------------------------------------------------

TIMEOUTS = {
    "OTEL_BSP_EXPORT_TIMEOUT": {"OTEL_BSP_EXPORT_TIMEOUT": "300"},
    "OTEL_EXPORTER_OTLP_TIMEOUT": {"OTEL_EXPORTER_OTLP_TIMEOUT": "0.3"},
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "0.3"},
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": {
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "0.3",
        "OTEL_TRACES_EXPORTER": "none",
        **METRICS,
    },
}


@pytest.mark.parametrize("variable", TIMEOUTS)
def test_a_request_is_given_up_in_time(
    variable: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that does not answer is hung up on after so many seconds."""
    collector.hang = True
    export(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **TIMEOUTS[variable]}, patience_s=0.6)
    deadline = time.monotonic() + 30
    while not collector.given_up_after_s and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 0.05 < collector.given_up_after_s[0] < 8  # which is less than the 10 s of the default


PERIODS = {
    "OTEL_BSP_SCHEDULE_DELAY": {"OTEL_BSP_SCHEDULE_DELAY": "50"},
    "OTEL_METRIC_EXPORT_INTERVAL": {
        "OTEL_METRIC_EXPORT_INTERVAL": "50",
        "OTEL_TRACES_EXPORTER": "none",
        **METRICS,
    },
}


@pytest.mark.parametrize("variable", PERIODS)
def test_a_period_passes_between_exports(
    variable: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a short one, everything arrives without a flush, well before the default of 5 or 60 s."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    for name, value in PERIODS[variable].items():
        monkeypatch.setenv(name, value)
    with configure():
        asyncio.run(async_map(job, range(3), limit=2, desc="batch"))
        with waited() as seconds:
            while not collector.requests and seconds() < 3:
                time.sleep(0.01)
        assert collector.requests


def test_a_small_queue_drops_what_is_too_much_and_counts_it(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`OTEL_BSP_MAX_QUEUE_SIZE` bounds what waits for a collector that hangs; the flush says that some is lost."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
    monkeypatch.setattr("spanloom.handlers.otel._sender.PATIENCE_S", 0.2)
    collector.hang = True
    with configure() as configuration:
        asyncio.run(async_map(job, range(400), limit=2, desc="batch"))
        assert not configuration.flush(3)
        assert configuration.handler is not None
        counts = configuration.handler.stats()
        assert counts.produced == 401 == counts.dropped + counts.pending
        assert counts.pending <= 64 + 64, "those that wait, and those of the request under way"
        collector.hang = False


def test_a_small_queue_is_no_reason_to_lose_anything(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much for the queue waits outside of it while the collector takes what it gets."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
    with configure() as configuration:
        asyncio.run(async_map(job, range(2_000), limit=2, desc="batch"))
        assert configuration.flush(30)
        assert configuration.handler is not None
        counts = configuration.handler.stats()
    assert (counts.exported, counts.dropped, counts.pending) == (counts.produced, 0, 0)
    assert len({span.span_id for span in collector.spans}) == counts.produced > 2_000


# TLS ---------------------------------------------------------------------------------------------------------

HTTPS = {
    "OTEL_EXPORTER_OTLP_CERTIFICATE": (False, "OTEL_EXPORTER_OTLP_"),
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": (False, "OTEL_EXPORTER_OTLP_TRACES_"),
    "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE": (False, "OTEL_EXPORTER_OTLP_METRICS_"),
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": (True, "OTEL_EXPORTER_OTLP_"),
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": (True, "OTEL_EXPORTER_OTLP_TRACES_"),
    "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY": (True, "OTEL_EXPORTER_OTLP_METRICS_"),
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": (True, "OTEL_EXPORTER_OTLP_"),
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE": (True, "OTEL_EXPORTER_OTLP_TRACES_"),
    "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE": (True, "OTEL_EXPORTER_OTLP_METRICS_"),
}


@pytest.mark.parametrize("variable", HTTPS)
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_keys_and_certificates_are_used(
    variable: str, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector with a certificate of its own, which may want one of the client, gets what it is sent."""
    ask_client, prefix = HTTPS[variable]
    files = {f"{prefix}CERTIFICATE": str(certificate.certificate)}
    if ask_client:
        files[f"{prefix}CLIENT_KEY"] = str(certificate.key)
        files[f"{prefix}CLIENT_CERTIFICATE"] = str(certificate.certificate)
    assert variable in files
    signals = {"OTEL_TRACES_EXPORTER": "none", **METRICS} if "METRICS" in variable else {}
    with http_collector(server_context(certificate, ask_client=ask_client)) as collector:
        export(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **files, **signals})
        assert collector.requests


def test_a_certificate_that_nobody_vouches_for_is_refused(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable, nothing is sent to that collector."""
    with http_collector(server_context(certificate)) as collector:
        assert not export(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, patience_s=0.5)
        assert collector.requests == []


INSECURE = {
    "OTEL_EXPORTER_OTLP_INSECURE": {},
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE": {},
    "OTEL_EXPORTER_OTLP_METRICS_INSECURE": {"OTEL_TRACES_EXPORTER": "none", **METRICS},
}


@pytest.mark.parametrize("variable", INSECURE)
def test_grpc_without_tls_can_be_asked_for(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint without a scheme is spoken to without TLS only if the variable says so."""
    with grpc_collector() as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"127.0.0.1:{collector.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            variable: "true",
            **INSECURE[variable],
        }
        export(monkeypatch, variables)
        assert collector.requests


def test_a_grpc_status_can_be_made_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES` names a status after which it is sent again."""
    with grpc_collector() as collector:
        collector.refuse_once_with = grpc.StatusCode.INTERNAL
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES": "internal",
        }
        export(monkeypatch, variables)
        assert len(collector.spans) == 4


# what is found by name, and what is read at import: in a process of its own ----------------------------------

PLUGIN = """
import os
import grpc
import requests
from opentelemetry.sdk.trace import _TracerConfig
from opentelemetry.sdk.metrics._internal import _MeterConfig
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

class Ids(RandomIdGenerator):
    def generate_trace_id(self):
        return 0x1234 << 100

def sampler(argument):
    assert argument == "an argument"
    return ALWAYS_OFF

def no_tracer(scope):
    return _TracerConfig(is_enabled=scope.name != "spanloom")

def no_meter(scope):
    return _MeterConfig(is_enabled=scope.name != "spanloom")

def session():
    made = requests.Session()
    made.headers["Authorization"] = "Bearer from the plug-in"
    return made

def credentials():
    with open(os.environ["CERTIFICATE"], "rb") as file:
        return grpc.ssl_channel_credentials(file.read())
"""
ENTRY_POINTS = """
[opentelemetry_id_generator]
mine = plugin:Ids
[opentelemetry_traces_sampler]
mine = plugin:sampler
[_opentelemetry_tracer_configurator]
mine = plugin:no_tracer
[_opentelemetry_meter_configurator]
mine = plugin:no_meter
[opentelemetry_otlp_credential_provider]
mine = plugin:session
channel = plugin:credentials
"""
PROGRAM = """
import asyncio
from opentelemetry import propagate, trace
from opentelemetry.context import attach, get_current
from spanloom import async_map
from spanloom.handlers.otel import configure

async def job(number):
    await asyncio.sleep(0)

async def main():
    with configuration.tracer_provider.get_tracer("mine").start_as_current_span("mine"):
        pass
    # Without any propagator, the SDK extracts None.
    attach(propagate.extract({"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"}) or get_current())
    await async_map(job, range(3), desc="batch")

with configure() as configuration:
    asyncio.run(main())
"""


def run(folder: Path, program: str = PROGRAM, **variables: str) -> str:
    """Run a program beside a package that offers what `ENTRY_POINTS` says; return its standard error."""
    (folder / "plugin.py").write_text(PLUGIN)
    metadata = folder / "plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    path = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def _ours(collector: Collector) -> list[Any]:
    return [span for span in collector.spans if span.name != "mine"]


PLUGGED = {
    "OTEL_PYTHON_TRACER_CONFIGURATOR": Case(
        {"OTEL_PYTHON_TRACER_CONFIGURATOR": "mine"},
        lambda seen: [span.name for span in seen.spans] == ["mine"],
    ),
    "OTEL_PYTHON_METER_CONFIGURATOR": Case(
        {"OTEL_PYTHON_METER_CONFIGURATOR": "mine", **METRICS},
        lambda seen: len(_ours(seen)) == 4 and "spanloom.event.duration" not in seen.metrics,
    ),
    "OTEL_PYTHON_ID_GENERATOR": Case(
        {"OTEL_PYTHON_ID_GENERATOR": "mine"},
        # Our spans have the ids of their events, which are in logs and stores, too.
        lambda seen: (
            {span.trace_id.hex()[:4] for span in seen.spans if span.name == "mine"} == {"0001"}
            and len(_ours(seen)) == 4
        ),
    ),
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": Case(
        {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "mine"},
        lambda seen: seen.of("Trace")[0].headers["authorization"] == "Bearer from the plug-in",
    ),
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER": Case(
        {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER": "mine"},
        lambda seen: seen.of("Trace")[0].headers["authorization"] == "Bearer from the plug-in",
    ),
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_METRICS_CREDENTIAL_PROVIDER": Case(
        {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_METRICS_CREDENTIAL_PROVIDER": "mine", **METRICS},
        lambda seen: seen.of("Metrics")[0].headers["authorization"] == "Bearer from the plug-in",
    ),
    "OTEL_PROPAGATORS": Case(
        {"OTEL_PROPAGATORS": "none"},
        lambda seen: "ab" * 16 not in {span.trace_id.hex() for span in seen.spans} and len(_ours(seen)) == 4,
    ),
}


@pytest.mark.parametrize("variable", PLUGGED)
def test_a_variable_that_names_a_plug_in_takes_effect(
    variable: str, collector: Collector, tmp_path: Path
) -> None:
    """What other packages offer by name is used for our spans and metrics."""
    case = PLUGGED[variable]
    assert variable in case.variables
    run(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **case.variables)
    assert case.holds(collector)


def test_a_remote_parent_is_found_by_the_usual_propagators(collector: Collector, tmp_path: Path) -> None:
    """Without `OTEL_PROPAGATORS`, W3C trace context is read, and our batch is a child of the caller's span."""
    run(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert {span.trace_id.hex() for span in _ours(collector)} == {"ab" * 16}
    (batch,) = [span for span in collector.spans if span.name == "batch"]
    assert batch.parent_span_id.hex() == "cd" * 8


def test_a_sampler_of_another_package_decides(collector: Collector, tmp_path: Path) -> None:
    """`OTEL_TRACES_SAMPLER` may name an entry point, which is given `OTEL_TRACES_SAMPLER_ARG`."""
    named = {"OTEL_TRACES_SAMPLER": "mine", "OTEL_TRACES_SAMPLER_ARG": "an argument"}
    assert run(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **named) == ""
    assert collector.spans == []


GRPC_CREDENTIALS = {
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER": {},
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_TRACES_CREDENTIAL_PROVIDER": {
        # The SDK looks at the provider of a signal only where a certificate of that signal is named.
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "none",
    },
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_METRICS_CREDENTIAL_PROVIDER": {
        "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE": "none",
        "OTEL_TRACES_EXPORTER": "none",
        **METRICS,
    },
}


@pytest.mark.parametrize("variable", GRPC_CREDENTIALS)
def test_grpc_credentials_of_a_plug_in_are_used(
    variable: str, certificate: Certificate, tmp_path: Path
) -> None:
    """A collector whose certificate only the plug-in knows gets what it is sent."""
    pair = (certificate.key.read_bytes(), certificate.certificate.read_bytes())
    with grpc_collector(grpc.ssl_server_credentials([pair])) as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "CERTIFICATE": str(certificate.certificate),
            variable: "channel",
            **GRPC_CREDENTIALS[variable],
        }
        run(tmp_path, **variables)
        assert collector.requests


GLOBAL_PROVIDERS = {
    "OTEL_PYTHON_TRACER_PROVIDER": ("trace.get_tracer_provider()", "sdk_tracer_provider"),
    "OTEL_PYTHON_METER_PROVIDER": ("metrics.get_meter_provider()", "sdk_meter_provider"),
}


@pytest.mark.parametrize("variable", GLOBAL_PROVIDERS)
def test_a_global_provider_of_the_environment_is_used(variable: str, tmp_path: Path) -> None:
    """A handler that was given none takes the one that the variable names."""
    expression, name = GLOBAL_PROVIDERS[variable]
    program = f"""
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from spanloom import CallbackManager
from spanloom.handlers.otel import OpenTelemetryHandler
with CallbackManager([OpenTelemetryHandler()], raise_handler_errors=True) as manager:
    with manager.event(name="step"):
        pass
assert type({expression}).__module__.startswith("opentelemetry.sdk"), type({expression})
"""
    said = run(tmp_path, program, **{variable: name})
    assert ("nowhere to send spans" in said) == ("TRACER" not in variable)


def test_a_file_describes_it_all(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`OTEL_CONFIG_FILE` names one; the other variables do not count then, as for any program with the SDK."""
    file = tmp_path / "otel.yaml"
    file.write_text(
        f"""
file_format: "1.0"
resource:
  attributes:
    - name: service.name
      value: from the file
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: {collector.url}/v1/traces
meter_provider:
  readers:
    - periodic:
        exporter:
          otlp_http:
            endpoint: {collector.url}/v1/metrics
"""
    )
    variables = {"OTEL_CONFIG_FILE": str(file), "OTEL_SERVICE_NAME": "other", "OTEL_TRACES_EXPORTER": "none"}
    assert export(monkeypatch, variables)
    assert len(collector.spans) == 4
    assert collector.resource["service.name"] == "from the file"
    assert _histogram(collector).histogram.data_points != []


def test_a_file_can_switch_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``disabled: true`` is to the file what `OTEL_SDK_DISABLED` is to the environment."""
    file = tmp_path / "otel.yaml"
    file.write_text('file_format: "1.0"\ndisabled: true\n')
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    with configure() as configuration:
        assert configuration.handler is None


NAMED = {
    value
    for module in MODULES
    for key, value in vars(module).items()
    if key.lstrip("_").startswith("OTEL_") and isinstance(value, str)
}
TESTED = {
    *HTTP, *ENDPOINTS, *PROTOCOLS, *TIMEOUTS, *PERIODS, *HTTPS, *INSECURE, *PLUGGED, *GRPC_CREDENTIALS,
    *GLOBAL_PROVIDERS,
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_CONFIG_FILE",
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES",
}  # fmt: skip


def test_no_variable_of_the_sdk_is_forgotten() -> None:
    """Each that the installed packages name is tested here, or is known to say nothing to us."""
    logs = {name for name in NAMED if re.search(r"_OTLP_(HTTP_|GRPC_)?LOGS_", name)}
    assert TESTED & set(NOT_HERE) == set()
    assert NAMED - TESTED - set(NOT_HERE) - logs == set()
    assert TESTED <= NAMED


def test_every_variable_that_counts_is_in_the_reference() -> None:
    """The page names each, those of one signal as forms of the general one, and no other."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(OTEL_[A-Z_]+)`", page))
    elsewhere = {name for name, why in NOT_HERE.items() if why == ELSEWHERE}
    general = {
        re.sub(r"_(TRACES|METRICS)_(?!EXPORTER|SAMPLER|TEMP|DEFAULT|EXEMPLAR)", "_", name) for name in TESTED
    }
    assert (general | elsewhere) - documented == set()
    assert documented <= NAMED | {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"}  # of another package
