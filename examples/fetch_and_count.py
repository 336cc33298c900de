"""Fetch 2,000 documents from a server that is slow, busy and broken now and then, and count their tokens.

A whole pipeline, and what spanloom shows of it: a progress bar while it runs; afterwards where the time went, step by
step; the tree of what happened, with the slowest jobs; and one line of totals, checked against the server's.

    python examples/fetch_and_count.py [--documents N] [--workers N] [--seed N] [--checkpoint FILE]

With a checkpoint, a second run fetches only what the first, killed or interrupted, did not get to. With
OTEL_EXPORTER_OTLP_ENDPOINT set, the run is also exported as spans, for Jaeger and the like.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import text_server

from spanloom import (
    CallbackManager,
    Checkpoint,
    FixedLimiter,
    RetryPolicy,
    batch_gather,
    get_callback_manager,
    run_jobs,
    use_callback_manager,
)
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.otel import OpenTelemetryHandler

CONNECTIONS = 32
CHUNK = 50
FLUSH_TIMEOUT_S = 10.0
TOKEN = re.compile(r"\w+|[^\w\s]")

# -- the work ----------------------------------------------------------------------------------------------------------


def worth_another_try(error: Exception) -> bool:
    """A busy or broken server, or a lost connection, may do better next time. A missing page will not."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


# Waits 0.1, 0.2, 0.4 s, or longer if the answer has a Retry-After: httpx's exception carries the response, and
# there spanloom finds it by itself.
PATIENCE = RetryPolicy(attempts=4, base_delay=0.1, classify=worth_another_try)


class Received:
    """What has come over the network in this run."""

    def __init__(self) -> None:
        self.bytes = 0


async def fetch(client: httpx.AsyncClient, connections: FixedLimiter, received: Received, path: str) -> bytes:
    """Fetch one document."""
    # A job that pauses before its next attempt has no use for a connection. That is why there are more workers than
    # connections, and why the connection is taken here: once per attempt, not once per job.
    async with connections:
        response = await client.get(path)
    response.raise_for_status()
    received.bytes += len(response.content)
    return response.content


async def fetch_all(
    client: httpx.AsyncClient, paths: list[str], options: argparse.Namespace, received: Received
) -> list[bytes | Exception]:
    """Fetch all documents; what cannot be had is an exception in the place of its document."""
    connections = FixedLimiter(CONNECTIONS, name="connection")
    return await run_jobs(
        # Functions, not coroutines: a coroutine runs once, and each attempt needs a fresh one.
        [functools.partial(fetch, client, connections, received, path) for path in paths],
        workers=options.workers,
        retry=PATIENCE,
        on_error="return",
        # What the file has is not fetched again. The path is what tells one document from another.
        checkpoint=options.checkpoint and Checkpoint(options.checkpoint, key=paths, type=bytes),
        show_progress=True,
        desc="fetch",
    )


async def count_tokens(document: bytes) -> int:
    """Count words and signs. Nothing in here awaits: it holds the event loop, which shows as busy time."""
    return len(TOKEN.findall(document.decode("utf-8", errors="replace")))


async def count_all(documents: list[bytes]) -> list[int]:
    """Count chunk after chunk: the next one starts when all of the last one are done."""
    jobs = [count_tokens(document) for document in documents]
    return await batch_gather(jobs, CHUNK, show_progress=True, desc="count tokens")


class Result(NamedTuple):
    """What the pipeline has got, and what the server says it has given."""

    documents: list[bytes]
    failures: list[Exception]
    tokens: int
    received: int
    served: dict[str, Any]


async def fetch_and_count(url: str, options: argparse.Namespace) -> Result:
    """Run the pipeline."""
    manager, received, wanted = get_callback_manager(), Received(), options.documents
    limits = httpx.Limits(max_connections=CONNECTIONS)
    # All that happens in this block is one trace: one tree, one page in Jaeger.
    with manager.as_trace("fetch and count"):
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
            with manager.event(name="read the index"):
                index = (await client.get("/index.json")).json()
            if wanted > len(index):
                raise SystemExit(f"the server has {len(index):,} documents, not {wanted:,}")
            answers = await fetch_all(client, [entry["path"] for entry in index[:wanted]], options, received)
            documents = [answer for answer in answers if isinstance(answer, bytes)]
            failures = [answer for answer in answers if isinstance(answer, Exception)]
            tokens = await count_all(documents)
            served = (await client.get("/stats.json")).json()
    return Result(documents, failures, sum(tokens), received.bytes, served)


# -- the report --------------------------------------------------------------------------------------------------------


def print_timings(debug: DebugHandler) -> None:
    """Print where the time went."""
    print("\nWhere the time went\n")
    print(debug.table())
    print("\nWhat happened, with the slowest jobs\n")
    print(debug.slowest("trace"))


def print_totals(wanted: int, result: Result, debug: DebugHandler, lost: int) -> bool:
    """Print the totals as sums that must be right; return whether they are.

    What was attempted and counted comes from the events, what was served from the server.
    """
    types: Any = debug.summary()["types"]
    events = sum(of_type["count"] for of_type in types.values())
    attempts = types.get("attempt", {"count": 0})["count"]  # none if the checkpoint had them all
    counted = types["job"]["names"]["count_tokens"]["count"]
    ok, failed, served = len(result.documents), len(result.failures), result.served
    stored = sum(map(len, result.documents)) - result.received
    sums = {
        f"{wanted:,} documents = {ok:,} ok + {failed:,} failed": wanted == ok + failed,
        f"{attempts:,} attempts = {served['requests']:,} requests served": attempts == served["requests"],
        f"{served['too_early']:,} of them too early": served["too_early"] == 0,
        f"{result.received:,} bytes = {served['bytes']:,} bytes served": result.received == served["bytes"],
        f"{result.tokens:,} tokens in {counted:,} documents": counted == ok,
        f"{events:,} events, {lost:,} lost": lost == 0,
    }
    print(f"\ntotals: {'; '.join(sums)}")
    if stored:
        print(
            f"of these, {wanted - served['documents']:,} documents, {stored:,} bytes, came from the checkpoint"
        )
    wrong = [text for text, is_right in sums.items() if not is_right]
    if wrong:
        print(f"this does not add up: {'; '.join(wrong)}", file=sys.stderr)
    return not wrong


# -- the program -------------------------------------------------------------------------------------------------------


def make_manager(debug: DebugHandler) -> CallbackManager:
    """Return the manager that carries the events of this run to whoever looks at them."""
    handlers: list[object] = [debug]
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        os.environ.setdefault("OTEL_SERVICE_NAME", "fetch-and-count")
        handlers.append(OpenTelemetryHandler())
    # deep: measure busy time, too. It costs a little for every turn of the event loop, so it is a choice.
    return CallbackManager(handlers, deep=True)


def hand_over(manager: CallbackManager) -> int:
    """Let the handlers catch up, for they have threads of their own; return how many events the table lacks."""
    manager.flush(FLUSH_TIMEOUT_S)
    missing = {stats.handler: stats.dropped + stats.pending for stats in manager.stats().handlers}
    for handler, events in missing.items():
        if events:  # a collector that does not answer, for example
            print(f"{handler} did not get {events:,} events", file=sys.stderr)
    return missing["DebugHandler"]


def main() -> int:
    """Run everything; return 0 if the totals add up."""
    options = parse_options()
    debug = DebugHandler()
    with make_manager(debug) as manager:
        try:
            with use_callback_manager(manager), text_server.running(options.seed) as url:
                result = asyncio.run(fetch_and_count(url, options))
        except KeyboardInterrupt:
            result = None
        lost = hand_over(manager)
        print_timings(debug)
        if result is None:
            print("\ninterrupted; these are the times until then", file=sys.stderr)
            return 130  # what a shell returns for a program that Ctrl-C has ended
        return 0 if print_totals(options.documents, result, debug, lost) else 1


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Fetch documents from a slow, unreliable server, count their tokens, and show where the time went."
    )
    parser.add_argument("--documents", type=positive, default=2_000, help="how many to fetch (default: 2000)")
    parser.add_argument("--workers", type=positive, default=48, help="how many at a time (default: 48)")
    parser.add_argument("--seed", type=int, default=1, help="decides what goes wrong, and where (default: 1)")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="keep what has been fetched; begin with what it has"
    )
    return parser.parse_args()


def positive(text: str) -> int:
    """Return `text` as a number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(f"must be at least 1 (got {text})")
    return number


if __name__ == "__main__":
    sys.exit(main())
