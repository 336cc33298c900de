"""Servers die, stop and hang in the middle of a program's run; afterwards Jaeger holds every ended span, once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.jaeger.conftest import Program, stored, wait_for
from tests.jaeger.facts import SpanFacts, seen_by_the_program
from tools.backends import Collector, Jaeger

OUTAGE_S: Final = 12.0
"""Longer than anybody waits for one answer: the SDK's exporters 10 s, the Collector of these tests 5 s."""


PAUSE_S: Final = 0.2
"""Between two rounds: thousands of spans show as much as tens of thousands, and are read back sooner."""


def run_for(program: Program, seconds: float) -> None:
    """Have `program` work for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        program.run_rounds(1)
        time.sleep(PAUSE_S)


def assert_all_are_there(jaeger: Jaeger, service: str, since_ns: int, expected: list[SpanFacts]) -> None:
    """Assert that Jaeger has each of the spans, unharmed, no other, and none twice; also a moment later."""
    assert_same(wait_for(jaeger, service, since_ns, expected), expected)
    time.sleep(1)  # for what a queue might send once more
    assert_same(stored(jaeger, service, since_ns), expected)


def assert_same(there: list[SpanFacts], expected: list[SpanFacts]) -> None:
    """Assert that two lists of spans are equal, with a word on what kind of difference there is."""
    ids, wanted = Counter(span.span_id for span in there), Counter(span.span_id for span in expected)
    missing, too_many = wanted - ids, ids - wanted
    assert not missing, f"{missing.total()} of {wanted.total()} spans are missing"
    assert not too_many, f"{too_many.total()} spans are there too often or should not be there at all"
    assert [span.as_on_disk() for span in there] == [span.as_on_disk() for span in expected]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_killed_collector_loses_nothing(
    protocol: str, own_jaeger: Jaeger, own_collector: Collector, tmp_path: Path
) -> None:
    """Killed while spans come in, and started again later, it sends what it had taken, and the program the rest."""
    endpoint = own_collector.grpc_url if protocol == "grpc" else own_collector.http_url
    with Program(tmp_path, endpoint=endpoint, protocol=protocol, service="killed collector") as program:
        run_for(program, 1.5)
        own_collector.kill()
        run_for(program, OUTAGE_S)
        own_collector.start()
        program.run_rounds(2)
        program.end()
    assert_all_are_there(own_jaeger, "killed collector", program.started_ns, seen_by_the_program(tmp_path))


def test_what_a_killed_collector_held_outlives_the_program(
    own_jaeger: Jaeger, own_collector: Collector, tmp_path: Path
) -> None:
    """Spans that the Collector has taken are on disk, and arrive though both it and the program are gone by then."""
    own_jaeger.stop()
    with Program(
        tmp_path, endpoint=own_collector.http_url, protocol="http/protobuf", service="held"
    ) as program:
        program.run_rounds(20)
        program.end()
    own_collector.kill()
    own_jaeger.start()
    assert stored(own_jaeger, "held", program.started_ns) == []
    own_collector.start()
    assert_all_are_there(own_jaeger, "held", program.started_ns, seen_by_the_program(tmp_path))


def stop(jaeger: Jaeger) -> Callable[[], object]:
    """Stop Jaeger: connections are refused. Return what brings it back."""
    jaeger.stop()
    return jaeger.start


def hang(jaeger: Jaeger) -> Callable[[], object]:
    """Freeze Jaeger: connections are accepted, and nobody answers. Return what brings it back."""
    jaeger.pause()
    return jaeger.resume


@pytest.mark.parametrize("take_away", [stop, hang])
def test_a_jaeger_that_is_away_gets_everything_when_it_is_back(
    take_away: Callable[[Jaeger], Callable[[], object]],
    own_jaeger: Jaeger,
    own_collector: Collector,
    tmp_path: Path,
) -> None:
    """The program works on for more than ten seconds, is done and gone, and the Collector delivers it all later."""
    with Program(tmp_path, endpoint=own_collector.grpc_url, protocol="grpc", service="outage") as program:
        program.run_rounds(5)
        bring_back = take_away(own_jaeger)
        run_for(program, OUTAGE_S)
        program.end()
    bring_back()
    assert_all_are_there(own_jaeger, "outage", program.started_ns, seen_by_the_program(tmp_path))


@pytest.mark.parametrize(("take_away", "protocol"), [(stop, "http/protobuf"), (hang, "grpc")])
def test_a_program_without_a_collector_keeps_its_spans_meanwhile(
    take_away: Callable[[Jaeger], Callable[[], object]], protocol: str, own_jaeger: Jaeger, tmp_path: Path
) -> None:
    """Sending to Jaeger itself, it holds for more than ten seconds what it cannot send, and sends it when it can."""
    endpoint = own_jaeger.grpc_url if protocol == "grpc" else own_jaeger.http_url
    with Program(tmp_path, endpoint=endpoint, protocol=protocol, service="direct") as program:
        program.run_rounds(5)
        bring_back = take_away(own_jaeger)
        run_for(program, OUTAGE_S)
        bring_back()
        program.run_rounds(2)
        program.end()
    assert_all_are_there(own_jaeger, "direct", program.started_ns, seen_by_the_program(tmp_path))
