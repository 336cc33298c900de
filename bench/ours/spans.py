"""spanloom's `run_jobs` exporting by OpenTelemetryHandler: each way that it has of making spans."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from opentelemetry.sdk.trace import SpanProcessor

from bench.contender import Session
from bench.ours.managed import FLUSH_TIMEOUT_S
from bench.ours.runners import RUN_JOBS, run_ours
from bench.peers.exporting import SENDING, Exporting, Sink, provider_of
from spanloom import CallbackManager, use_callback_manager
from spanloom.handlers.otel import OpenTelemetryHandler


class _Watching(SpanProcessor):
    """Sees every span start, as only the SDK's own spans do."""


@contextmanager
def _ours(to: Sink, *, lean: bool = True, spool: bool = False) -> Iterator[Session]:
    with provider_of(to) as (provider, flush), tempfile.TemporaryDirectory() as folder:
        if not lean:
            provider.add_span_processor(_Watching())
        handler = OpenTelemetryHandler(provider, spool=folder if spool else None)
        manager = CallbackManager([handler], raise_handler_errors=True)

        def settle() -> None:
            if not manager.flush(FLUSH_TIMEOUT_S):
                raise AssertionError("the handler did not export everything in time")
            flush()

        with use_callback_manager(manager):
            yield Session(run_ours, settle)
        path = str(handler.path)
        manager.close()
        if not path.startswith("lean" if lean else "sdk"):
            raise AssertionError(f"this is not the way that was to be measured: {path}")


LEAN = Exporting("spanloom, lean", _ours, RUN_JOBS.name)
SPOOL = Exporting("spanloom, lean + spool", partial(_ours, spool=True), RUN_JOBS.name, stages=(SENDING,))
FALLBACK = Exporting("spanloom, SDK's tracer", partial(_ours, lean=False), RUN_JOBS.name)
ALL = (LEAN, SPOOL, FALLBACK)
"""Live parents are on, as they come."""
