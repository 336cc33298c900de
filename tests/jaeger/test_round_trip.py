"""What a program does is in Jaeger, span by span: over both protocols, through a Collector and without."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.jaeger.conftest import Program, wait_for
from tests.jaeger.facts import from_older_api, from_otlp, seen_by_the_program
from tools.backends import Collector, Jaeger

ROUNDS = 3


@pytest.mark.parametrize("arguments", [(), ("--global-provider",)], ids=["environment", "provider"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("route", ["collector", "direct"])
def test_jaeger_answers_what_the_program_has_seen(
    route: str,
    protocol: str,
    arguments: tuple[str, ...],
    jaeger: Jaeger,
    collector: Collector,
    tmp_path: Path,
) -> None:
    """Names, parents, links, times, status, attributes and exceptions are those of the events, in all three answers."""
    server: Jaeger | Collector = collector if route == "collector" else jaeger
    endpoint = server.grpc_url if protocol == "grpc" else server.http_url
    service = f"{route} {protocol} {len(arguments)}"
    with Program(
        tmp_path, endpoint=endpoint, protocol=protocol, service=service, arguments=arguments
    ) as program:
        program.run_rounds(ROUNDS)
        assert program.end() == ""
    expected = seen_by_the_program(tmp_path)
    assert_that_it_was_a_pipeline(Counter(span.attributes.get("spanloom.type", "user") for span in expected))
    assert max(len(span.links) for span in expected) == ROUNDS

    assert wait_for(jaeger, service, program.started_ns, expected) == expected
    traces = {span.trace_id for span in expected}
    assert len(traces) == ROUNDS
    for trace_id in traces:
        of_trace = [span for span in expected if span.trace_id == trace_id]
        assert from_otlp(jaeger.trace(trace_id, raw=True), service) == of_trace
    shown = from_otlp(jaeger.find_spans(service, program.started_ns, time.time_ns()), service)
    assert shown == expected  # without `raw`, Jaeger would note here what it has found wrong with a span
    assert from_older_api(jaeger.traces(service), service) == sorted(
        span.as_the_older_api_has_it() for span in expected
    )


def assert_that_it_was_a_pipeline(types: Counter[str]) -> None:
    """Assert that the program did what it is for: an empty trace would compare equal, too."""
    assert types["trace"] == ROUNDS
    for kind in ("batch", "job", "retry", "attempt", "backoff", "slot_wait", "call", "chunking"):
        assert types[kind] >= ROUNDS, kind
