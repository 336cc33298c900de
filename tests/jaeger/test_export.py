"""A run recorded yesterday opens in Jaeger today, and is the one that would have been there since yesterday."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.record import RecordHandler
from tests.environments import without_ours
from tests.jaeger.conftest import poll, stored, wait_for
from tests.jaeger.facts import SpanFacts
from tests.viewer.workload import JOBS, everything
from tools.backends import Collector, Jaeger

SERVICE = "yesterday"
COMMAND = [sys.executable, "-W", "error", "-c", "from spanloom.cli import main; main()", "export"]


class Yesterday(NamedTuple):
    """A run that went to Jaeger while it ran, and was recorded."""

    record: Path
    since_ns: int
    spans: list[SpanFacts]


@pytest.fixture(scope="module")
def yesterday(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> Yesterday:
    """Run it with both handlers on."""
    since_ns = time.time_ns()
    record = tmp_path_factory.mktemp("record") / "runs.db"
    provider = TracerProvider(resource=Resource({"service.name": SERVICE}), shutdown_on_exit=False)
    provider.add_span_processor(
        SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{jaeger.http_url}/v1/traces"))
    )
    manager = CallbackManager(
        [OpenTelemetryHandler(provider), RecordHandler(record, payloads=True)], raise_handler_errors=True
    )
    with use_callback_manager(manager):
        asyncio.run(everything())
    handler = manager.handlers[0]
    assert isinstance(handler, OpenTelemetryHandler)
    assert manager.flush(60)
    sent = handler.stats().exported
    assert manager.close(10)
    spans = poll(lambda: stored(jaeger, SERVICE, since_ns), lambda spans: len(spans) >= sent)
    assert len(spans) == sent > JOBS
    assert len({span.trace_id for span in spans}) > 4
    return Yesterday(record, since_ns, spans)


def export(record: Path, *arguments: str | Path, **environment: str) -> dict[str, Any]:
    """Run the command as a user does, and return what it says."""
    clean = without_ours()
    done = subprocess.run(
        [*COMMAND, record, "--format", "otlp", "--json", *arguments],
        env=clean
        | {"PYTHONPATH": os.pathsep.join(sys.path), "OTEL_SERVICE_NAME": SERVICE, "NO_PROXY": "127.0.0.1"}
        | environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture
def today(tmp_path: Path) -> Iterator[Jaeger]:
    """A Jaeger that knows nothing of yesterday."""
    folder = tmp_path / "today"
    folder.mkdir()
    with Jaeger(folder) as server:
        yield server


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_what_is_exported_is_what_was_there_live(protocol: str, yesterday: Yesterday, today: Jaeger) -> None:
    """Names, parents, times, status, attributes, exceptions, links and shards: Jaeger cannot tell the difference."""
    endpoint = today.grpc_url if protocol == "grpc" else today.http_url
    said = export(yesterday.record, "--endpoint", endpoint, "--protocol", protocol)
    assert said["spans"] == len(yesterday.spans)
    assert wait_for(today, SERVICE, yesterday.since_ns, yesterday.spans) == yesterday.spans


def test_exported_twice_it_is_there_once(
    yesterday: Yesterday, own_jaeger: Jaeger, own_collector: Collector
) -> None:
    """Ids are the recorded ones: a Jaeger that stores a span by them has each once, whatever way it came."""
    export(yesterday.record, "--endpoint", own_jaeger.http_url)
    export(yesterday.record, "--endpoint", own_jaeger.grpc_url, "--protocol", "grpc")
    export(yesterday.record, "--send", OTEL_EXPORTER_OTLP_ENDPOINT=own_collector.http_url)
    own_collector.stop()  # it hands over what it holds
    found = wait_for(own_jaeger, SERVICE, yesterday.since_ns, yesterday.spans)
    ids = [(span.trace_id, span.span_id) for span in found]
    assert ids == [(span.trace_id, span.span_id) for span in yesterday.spans]


def test_the_collector_reads_the_lines(yesterday: Yesterday, today: Jaeger, tmp_path: Path) -> None:
    """Each line of the file is OTLP/JSON to the Collector itself, which makes of it the spans that were there live.

    Its receiver for such files, ``otlpjsonfile``, gives each line to the same decoder as its OTLP receiver does with a
    request whose content is JSON. The latter is part of the Collector that these tests build.
    """
    export(yesterday.record, "-o", tmp_path / "spans.jsonl")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with Collector(tmp_path, jaeger=today.otlp_grpc) as collector:
        for line in (tmp_path / "spans.jsonl").read_bytes().splitlines():
            url, headers = f"{collector.http_url}/v1/traces", {"Content-Type": "application/json"}
            with direct.open(urllib.request.Request(url, line, headers), timeout=30) as answer:
                assert answer.status == 200
                assert json.loads(answer.read()) == {"partialSuccess": {}}
        assert wait_for(today, SERVICE, yesterday.since_ns, yesterday.spans) == yesterday.spans


def test_the_lines_are_those_that_the_collector_writes(
    yesterday: Yesterday, jaeger: Jaeger, tmp_path: Path
) -> None:
    """What the Collector's file exporter writes, which is what ``otlpjsonfile`` is made to read, says the same."""
    theirs = tmp_path / "theirs.jsonl"
    on_top = f"""
exporters:
  file: {{path: {theirs}, format: json}}
service:
  pipelines:
    traces: {{exporters: [file]}}
"""
    with Collector(tmp_path, jaeger=jaeger.otlp_grpc, on_top=on_top) as collector:
        export(yesterday.record, "--endpoint", collector.grpc_url, "--protocol", "grpc")
    export(yesterday.record, "-o", tmp_path / "ours.jsonl")
    written, ours = _spans(theirs), _spans(tmp_path / "ours.jsonl")
    assert len(ours) == len(yesterday.spans)
    assert written == ours


def _spans(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the spans of a file as they are written, each with what is around it, in the order of their ids.

    What has its default value may be said or not.
    """
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            about = sorted(resource["resource"]["attributes"], key=lambda pair: str(pair["key"]))
            for scope in resource["scopeSpans"]:
                around = json.dumps([about, scope["scope"]], sort_keys=True)
                found += [(around, _said(span)) for span in scope["spans"]]
    return sorted(found, key=lambda pair: str(pair[1]["spanId"]))


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _said(item) for key, item in value.items() if item not in ("", [], {}, 0) or key == "value"
        }
    return [_said(item) for item in value] if isinstance(value, list) else value
