"""spanloom's `run_jobs` with one handler at a time; each row's base is the same runner with none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.contender import Contender
from bench.ours.managed import Handlers, OpenHandlers, handled
from bench.ours.runners import CONTEXT, RUN_JOBS, run_in_context, run_ours
from bench.peers.exporting import SENDING, provider_of, sink
from bench.peers.spans import counting_provider
from bench.receiver import Receiver
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.progress import ProgressHandler


@contextmanager
def open_debug() -> Iterator[Handlers]:
    """Give a DebugHandler as it comes."""
    yield Handlers([DebugHandler()])


@contextmanager
def _open_telemetry() -> Iterator[Handlers]:
    with counting_provider(encode=False) as (provider, flush):
        yield Handlers([OpenTelemetryHandler(tracer_provider=provider)], flush)


@contextmanager
def _open_telemetry_sent(receiver: Receiver) -> Iterator[Handlers]:
    """Give a handler whose spans become OTLP bytes as they do for a user: in its own encoder, on their way to OTLP."""
    receiver.behave()
    to = sink(SENDING, receiver)
    with provider_of(to) as (provider, flush):
        yield Handlers([OpenTelemetryHandler(tracer_provider=provider)], flush)
        if not to.arrived():
            raise AssertionError("no span reached the receiver: this would time nothing")


@contextmanager
def _open_progress() -> Iterator[Handlers]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        yield Handlers([ProgressHandler(file=nowhere)])


def with_bases(receiver: Receiver) -> list[tuple[Contender, Contender]]:
    """Return each contender with a handler, and the contender that it is compared with.

    Args:
        receiver: Where those send to that send.
    """
    handlers: dict[str, OpenHandlers] = {
        "spanloom + DebugHandler": open_debug,
        "spanloom + OpenTelemetryHandler": _open_telemetry,
        "spanloom + OpenTelemetryHandler, OTLP bytes": partial(_open_telemetry_sent, receiver),
        "spanloom + ProgressHandler": _open_progress,
    }
    return [
        *((handled(name, run_ours, opened), RUN_JOBS) for name, opened in handlers.items()),
        *(
            (handled(f"{name}, context", run_in_context, opened), CONTEXT)
            for name, opened in handlers.items()
        ),
    ]
