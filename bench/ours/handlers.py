"""spanloom's `run_jobs` with one handler at a time; each row's base is the same runner with none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.contender import Contender
from bench.ours.managed import Handlers, OpenHandlers, handled
from bench.ours.runners import CONTEXT, RUN_JOBS, run_in_context, run_ours
from bench.peers.spans import counting_provider
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.progress import ProgressHandler


@contextmanager
def open_debug() -> Iterator[Handlers]:
    """Give a DebugHandler as it comes."""
    yield Handlers([DebugHandler()])


@contextmanager
def _open_telemetry(*, encode: bool) -> Iterator[Handlers]:
    with counting_provider(encode=encode) as (provider, flush):
        yield Handlers([OpenTelemetryHandler(tracer_provider=provider)], flush)


@contextmanager
def _open_progress() -> Iterator[Handlers]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        yield Handlers([ProgressHandler(file=nowhere)])


_HANDLERS: dict[str, OpenHandlers] = {
    "spanloom + DebugHandler": open_debug,
    "spanloom + OpenTelemetryHandler": partial(_open_telemetry, encode=False),
    "spanloom + OpenTelemetryHandler, OTLP bytes": partial(_open_telemetry, encode=True),
    "spanloom + ProgressHandler": _open_progress,
}

WITH_BASES: list[tuple[Contender, Contender]] = [
    *((handled(name, run_ours, handlers), RUN_JOBS) for name, handlers in _HANDLERS.items()),
    *(
        (handled(f"{name}, context", run_in_context, handlers), CONTEXT)
        for name, handlers in _HANDLERS.items()
    ),
]
"""Each contender with a handler, and the contender that it is compared with."""
