"""A program whose spans go to a backend: ``pipeline.py FOLDER [--global-provider | --spool DIRECTORY]``.

It runs one round of work for every line that it reads from standard input, and says ``done`` after each, so that a test
decides what happens to the backend in between. At the end of its input it writes what happened, as it saw it itself:

    FOLDER/events.jsonl     what `DebugHandler` has seen
    FOLDER/users.json       the spans of its own code, with ``--global-provider``

and says ``flushed`` or ``not flushed``. With ``--spool`` it is made to be killed: spans go through a spool in that
directory, and FOLDER/events.jsonl is written line by line, each event as soon as the exporting handler has had it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from spanloom import EventContext, FixedLimiter, RetryPolicy, async_map, get_callback_manager, retry, run_jobs
from spanloom.events import Event
from spanloom.events.codec import encode, encode_lines
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.otel import OpenTelemetryHandler

FLUSH_TIMEOUT_S = 60.0
PATIENCE = RetryPolicy(attempts=3, base_delay=0.001)
SENDER = {"traceparent": "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01", "tracestate": "vendor=x"}
"""The headers of a message from somewhere else."""
linked: list[EventContext] = []
"""What later rounds are linked to."""
users: list[Any] = []
"""The spans of this program's own code."""

# -- one round: everything that a pipeline can do to a span ------------------------------------------------------------


async def embed(number: int) -> int:
    """Hold a slot for a moment; a span of the user's own inside, with a link, an event and an exception."""
    tracer = trace.get_tracer("pipeline")
    links = [trace.Link(users[0].get_span_context(), {"why": "fan-in"})] if users else None
    attributes = {"db.system.name": "sqlite", "rows": number, "ratio": number / 3, "tags": ["a", "ü"]}
    with tracer.start_as_current_span("query", attributes=attributes, links=links) as span:
        if span.is_recording():
            users.append(span)
        span.add_event("cursor", {"position": number})
        await asyncio.sleep(0.001)
        if number == 2:
            with contextlib.suppress(KeyError), tracer.start_as_current_span("lookup") as inner:
                if inner.is_recording():
                    users.append(inner)
                raise KeyError("nö such row")
    return number


async def flaky(failures: dict[int, int], number: int) -> int:
    """Fail as often as `failures` says, then succeed."""
    get_callback_manager().emit(name="tried", payload={"number": number, "left": failures.get(number, 0)})
    await asyncio.sleep(0)
    if failures.get(number, 0) > 0:
        failures[number] -= 1
        raise ConnectionError(f"try {number} again")
    return number


async def document(number: int) -> int:
    """Run a batch of its own inside a job, and fail for good if it is the last."""
    with get_callback_manager().event(
        "chunking", {"chunk": number, "source": "naïve.txt"}, name="split"
    ) as event:
        event.set(pieces=3, fresh=True, share=0.1 + 0.2, parts=["left", "out"])
    await async_map(embed, range(3), limit=2, desc="embed pieces")
    if number == 3:
        raise ValueError(f"document {number} is empty\nreally")
    return number


async def hang() -> None:
    await asyncio.sleep(3600)


async def fail_soon() -> None:
    await asyncio.sleep(0.01)
    raise RuntimeError("stop them all")


@get_callback_manager().trace()
async def limited(limiter: FixedLimiter) -> None:
    async with limiter:
        await asyncio.sleep(0.001)


async def one_round(number: int) -> None:
    """Run batches, nested ones, retries, failures, time-outs, cancels, waits, links and points under one root."""
    manager = get_callback_manager()
    with manager.as_trace(f"round {number % 2}"):
        manager.emit(name="begun", payload={"round": number})
        await run_jobs(
            [functools.partial(document, item) for item in range(4)],
            workers=3,
            on_error="return",
            desc="documents",
        )
        failures = {0: 1, 1: 2, 2: 9}
        await run_jobs(
            [functools.partial(flaky, failures, item) for item in range(4)],
            retry=PATIENCE,
            on_error="return",
        )
        with contextlib.suppress(RuntimeError):
            await run_jobs([hang(), hang(), fail_soon()], desc="cancelled by a failure")
        await run_jobs([hang()], timeout=0.01, on_error="skip")
        with contextlib.suppress(ConnectionError):
            await retry(functools.partial(flaky, {7: 9}, 7), attempts=2, base_delay=0.001)
        with manager.event(name="merge") as merge:
            for event_of_round in linked:
                merge.link(event_of_round, why="fan-in", share=0.25)
            merge.link(SENDER, last=True)
            linked.append(merge)
        limiter = FixedLimiter(1, name="connection")
        await asyncio.gather(limited(limiter), limited(limiter))


# -- what it saw -------------------------------------------------------------------------------------------------------


def set_global_provider() -> TracerProvider:
    """Set up OpenTelemetry as a user does who follows its documentation."""
    if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def user_span(span: ReadableSpan) -> dict[str, Any]:
    """Return all that a finished span of the SDK says of itself, as plain data."""
    context, parent = span.context, span.parent
    assert context is not None
    return {
        "trace_id": context.trace_id,
        "span_id": context.span_id,
        "parent_id": None if parent is None else parent.span_id,
        "name": span.name,
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status": span.status.status_code.name,
        "message": span.status.description or "",
        "attributes": plain(span.attributes),
        "points": [[event.name, event.timestamp, plain(event.attributes)] for event in span.events],
        "links": [
            [link.context.trace_id, link.context.span_id, plain(link.attributes)] for link in span.links
        ],
    }


def plain(attributes: Any) -> dict[str, Any]:
    """Return `attributes` with lists for tuples, as JSON has them."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in (attributes or {}).items()
    }


def say(word: str) -> None:
    """Tell the test that waits for it."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Journal:
    """Writes every event down as it ends. What is written is the kernel's, and outlives a SIGKILL."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def on_event_end(self, event: Event) -> None:
        os.write(self._file, encode(event) + b"\n")

    on_event = on_event_end


# -- the program -------------------------------------------------------------------------------------------------------


async def rounds() -> None:
    """Run a round for each line of standard input."""
    number = 0
    while await asyncio.to_thread(sys.stdin.readline):
        await one_round(number)
        number += 1
        say("done")


def run_with_spool(folder: Path, spool: Path) -> bool:
    """Run; return whether all that was in the spool has been sent."""
    manager = get_callback_manager()
    manager.add_handler(OpenTelemetryHandler(spool=spool))
    manager.add_handler(Journal(folder / "events.jsonl"))  # second: what it has, the spool has
    asyncio.run(rounds())
    return manager.flush(FLUSH_TIMEOUT_S)


def run(folder: Path, provider: TracerProvider | None) -> bool:
    """Run, and write down what was seen; return whether all of it has been sent."""
    debug = DebugHandler(keep_pairs=1_000_000)
    manager = get_callback_manager()  # SPANLOOM_HANDLERS has put the exporting handler there
    manager.add_handler(debug)
    asyncio.run(rounds())
    flushed = manager.flush(FLUSH_TIMEOUT_S)
    with (folder / "events.jsonl").open("wb") as file:
        file.writelines(encode_lines(debug.event_pairs()))
    (folder / "users.json").write_text(json.dumps([user_span(span) for span in users]))
    if provider is not None:
        flushed = provider.force_flush() and flushed
        provider.shutdown()
    return flushed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--global-provider", action="store_true")
    parser.add_argument("--spool", type=Path)
    options = parser.parse_args()
    if options.spool is not None:
        flushed = run_with_spool(options.folder, options.spool)
    else:
        flushed = run(options.folder, set_global_provider() if options.global_provider else None)
    say("flushed" if flushed else "not flushed")


if __name__ == "__main__":
    main()
