"""What the how-to guides say that the Collector does, the Collector does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.environments import without_ours
from tests.jaeger.conftest import Program, poll
from tools.backends import Collector, Jaeger
from tools.backends.server import ROOT, fetch

YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (ROOT / "docs" / "how-to" / name).read_text(encoding="utf-8")


def test_the_metrics_to_watch_are_there(collector: Collector, tmp_path: Path) -> None:
    """Each metric that the how-to names is one that the Collector has, under that name."""
    named = set(re.findall(r"`(otelcol_\w+)`", page("collector-in-production.md")))
    assert len(named) >= 4
    with Program(tmp_path, endpoint=collector.grpc_url, protocol="grpc", service="metrics") as program:
        program.run_rounds(1)
        program.end()
    there = poll(
        lambda: set(re.findall(r"^(otelcol_\w+)", fetch(collector.metrics_url), re.MULTILINE)),
        lambda metrics: metrics >= named,
        timeout=30,
    )
    assert named - there == set()


def test_a_full_queue_is_a_reason_to_try_again(tmp_path: Path) -> None:
    """With Jaeger away and no room left, OTLP clients are told to come back, with 503: nothing is taken and dropped."""
    small = """
exporters:
  otlp_grpc/jaeger:
    sending_queue: {queue_size: 10, batch: {min_size: 5, max_size: 5}}
"""
    span = {
        "traceId": "5b" * 16,
        "spanId": "5b" * 8,
        "name": "a",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    with Collector(tmp_path, jaeger="127.0.0.1:9", on_top=small) as collector:
        request = urllib.request.Request(
            f"{collector.http_url}/v1/traces", body, {"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        taken = 0
        # A few requests more than the queue holds are under way to Jaeger; far less than a hundred.
        with pytest.raises(urllib.error.HTTPError) as refused:
            for _ in range(100):
                opener.open(request, timeout=30).close()
                taken += 1
        refused.value.close()
        assert refused.value.code == 503
        assert taken >= 10


TRACES = """
import asyncio
from spanloom import RetryPolicy, get_callback_manager, run_jobs

async def job(errors):
    if errors:
        raise errors.pop()

async def main():
    patience = RetryPolicy(attempts=2, base_delay=0)
    for name, errors in ("fine", []), ("retried", [OSError()]), ("failed", [OSError(), OSError()]):
        with get_callback_manager().as_trace(name):
            await run_jobs([lambda: job(errors)], retry=patience, on_error="return")

asyncio.run(main())
"""


@pytest.mark.parametrize(("number", "kept"), [(0, {"retried", "failed"}), (1, {"failed"})])
def test_tail_sampling_keeps_what_failed(number: int, kept: set[str], jaeger: Jaeger, tmp_path: Path) -> None:
    """The how-to's first policy keeps what had a failed attempt, too; the second only what has a failed job."""
    on_top = YAML.findall(page("sampling.md"))[number]
    # Of the healthy ones none, for certain, and without waiting for a minute.
    on_top = on_top.replace("sampling_percentage: 5", "sampling_percentage: 0")
    on_top = re.sub(r"decision_wait: \S+", "decision_wait: 1s", on_top)
    if "decision_wait" not in on_top:
        on_top = on_top.replace("    policies:", "    decision_wait: 1s\n    policies:")
    service = f"tail sampling {number}"
    clean = without_ours()
    with Collector(tmp_path, jaeger=jaeger.otlp_grpc, on_top=on_top) as collector:
        subprocess.run(
            [sys.executable, "-W", "error", "-c", TRACES],
            env=clean
            | {
                "PYTHONPATH": os.pathsep.join(sys.path),
                "SPANLOOM_HANDLERS": "otel",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_url,
                "OTEL_SERVICE_NAME": service,
                "NO_PROXY": "127.0.0.1",
            },
            check=True,
        )
        names = poll(lambda: roots(jaeger, service), lambda found: found >= kept)
        time.sleep(1)  # for what should not come
        assert names == roots(jaeger, service) == kept


def roots(jaeger: Jaeger, service: str) -> set[str]:
    """Return the names of the spans of `service` that have no parent."""
    return {
        span["operationName"]
        for trace in jaeger.traces(service)
        for span in trace["spans"]
        if all(reference["refType"] != "CHILD_OF" for reference in span["references"])
    }
