"""A program with a spool is killed in the middle of its work and run again: no ended span is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jaeger.conftest import Program, poll, stored
from tests.jaeger.facts import seen_by_the_program
from tools.backends import Collector, Jaeger

SERVICE = "killed program"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("state", ["up", "down"])
def test_a_killed_program_loses_no_ended_span(
    state: str, protocol: str, own_jaeger: Jaeger, own_collector: Collector, tmp_path: Path
) -> None:
    """What had ended when SIGKILL came is in Jaeger after the next run, once, with the Collector up or down."""
    endpoint = own_collector.grpc_url if protocol == "grpc" else own_collector.http_url
    spool = ("--spool", str(tmp_path / "spool"))
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    if state == "down":
        own_collector.kill()
    with Program(first, endpoint=endpoint, protocol=protocol, service=SERVICE, arguments=spool) as killed:
        killed.run_rounds(5)
        written = journal_size(first)
        killed.start_round()
        assert poll(lambda: journal_size(first), lambda size: size > written + 2_000) > written
        killed.process.kill()
        killed.process.wait()
    if state == "down":
        own_collector.start()
    with Program(second, endpoint=endpoint, protocol=protocol, service=SERVICE, arguments=spool) as program:
        program.run_rounds(1)
        program.end()

    expected = {span.span_id: span for span in seen_by_the_program(first) + seen_by_the_program(second)}
    assert len(expected) > 5 * 40
    there = poll(
        lambda: stored(own_jaeger, SERVICE, killed.started_ns),
        lambda spans: expected.keys() <= {span.span_id for span in spans},
    )
    ids = [span.span_id for span in there]
    assert len(set(ids)) == len(ids)
    # The kill may have come when a span was in the spool and its event not yet in the journal: one, at most.
    assert len(set(ids) - expected.keys()) <= 1
    assert {span.span_id: span.as_on_disk() for span in there if span.span_id in expected} == {
        span_id: span.as_on_disk() for span_id, span in expected.items()
    }


def journal_size(folder: Path) -> int:
    """Return how much the program in `folder` has written down of what has ended."""
    return (folder / "events.jsonl").stat().st_size
