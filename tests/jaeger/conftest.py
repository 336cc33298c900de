"""A real Jaeger, a real Collector, and a real program between which spans go; built and started for these tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self, TypeVar

import pytest

from tests.environments import without_ours
from tests.jaeger.facts import SpanFacts, from_otlp
from tools.backends import Collector, Jaeger
from tools.backends.server import ROOT

T = TypeVar("T")

DEADLINE_S: Final = 120.0
"""Seconds that anything may take which a machine in good health does in one."""


IMPATIENT: Final = """
exporters:
  otlp_grpc/jaeger:
    timeout: 5s
    retry_on_failure: {max_interval: 2s}
"""
"""For a Collector in front of a Jaeger that goes away: it runs out of patience, and tries again, while a test waits."""


def poll(look: Callable[[], T], enough: Callable[[T], bool], timeout: float = DEADLINE_S) -> T:
    """Return what `look` sees as soon as that is `enough`, or, for the assertion to show, what it saw at the end."""
    deadline = time.monotonic() + timeout
    while not enough(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen


class Program:
    """`pipeline.py` as a process: a round of work at a time.

    Args:
        folder: Where it writes what it saw.
        endpoint: Where it sends spans by OTLP.
        protocol: ``grpc`` or ``http/protobuf``.
        service: Its ``service.name``.
        arguments: More for its command line.
    """

    def __init__(
        self, folder: Path, *, endpoint: str, protocol: str, service: str, arguments: tuple[str, ...] = ()
    ):
        self.folder = folder
        self.started_ns = time.time_ns()
        clean = without_ours()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                str(ROOT / "tests" / "jaeger" / "pipeline.py"),
                str(folder),
                *arguments,
            ],
            env=clean
            | {
                "PYTHONPATH": os.pathsep.join(sys.path),
                "SPANLOOM_HANDLERS": "" if "--spool" in arguments else "otel",
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                "OTEL_SERVICE_NAME": service,
                "NO_PROXY": "127.0.0.1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def start_round(self) -> None:
        """Have it run a round, and do not wait for that."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def run_rounds(self, number: int) -> None:
        """Have it run so many rounds, and return when they are done."""
        assert self.process.stdout is not None
        for _ in range(number):
            self.start_round()
            assert self.process.stdout.readline() == "done\n", self.process.communicate()[1]

    def end(self) -> str:
        """Let it come to its end, and return what it printed to standard error."""
        printed, errors = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, errors
        assert printed == "flushed\n", errors
        return errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def stored(jaeger: Jaeger, service: str, since_ns: int) -> list[SpanFacts]:
    """Return every span of `service` that Jaeger has stored since then, raw: one stored twice is there twice."""
    return from_otlp(jaeger.find_spans(service, since_ns, time.time_ns(), raw=True), service)


def wait_for(jaeger: Jaeger, service: str, since_ns: int, expected: list[SpanFacts]) -> list[SpanFacts]:
    """Return what Jaeger has stored when it has at least as many spans as there should be."""
    return poll(lambda: stored(jaeger, service, since_ns), lambda spans: len(spans) >= len(expected))


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """A Jaeger that all tests share which do not stop it."""
    with Jaeger(tmp_path_factory.mktemp("jaeger")) as server:
        yield server


@pytest.fixture(scope="session")
def collector(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A Collector in front of it."""
    with Collector(tmp_path_factory.mktemp("collector"), jaeger=jaeger.otlp_grpc) as server:
        yield server


@pytest.fixture
def own_jaeger(tmp_path: Path) -> Iterator[Jaeger]:
    """A Jaeger of the test's own that still has its traces after a restart.

    It stores a span under its ids, so that one which is sent twice is there once: what was on its way to a server that
    was killed has to be sent again, because nobody can know whether it had arrived.
    """
    folder = tmp_path / "jaeger"
    folder.mkdir()
    with Jaeger(folder, on_disk=True) as server:
        yield server


@pytest.fixture
def own_collector(own_jaeger: Jaeger, tmp_path: Path) -> Iterator[Collector]:
    """A Collector of the test's own, in front of it."""
    folder = tmp_path / "collector"
    folder.mkdir()
    with Collector(folder, jaeger=own_jaeger.otlp_grpc, on_top=IMPATIENT) as server:
        yield server
