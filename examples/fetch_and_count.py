"""Fetch 2,000 documents from a server that is slow, busy and broken now and then, and count their tokens.

A whole pipeline, and what spanloom shows of it: a progress bar while it runs; afterwards where the time went, step by
step; the tree of what happened, with the slowest jobs; and one line of totals, checked against the server's.

    python examples/fetch_and_count.py [--documents N] [--workers N] [--seed N]

With OTEL_EXPORTER_OTLP_ENDPOINT set, the run is also exported as spans, for Jaeger and the like.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import re
import sys
from typing import Any, NamedTuple

import httpx
import text_server

from spanloom import (
    CallbackManager,
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


async def fetch(client: httpx.AsyncClient, connections: FixedLimiter, path: str) -> bytes:
    """Fetch one document."""
    # A job that pauses before its next attempt has no use for a connection. That is why there are more workers than
    # connections, and why the connection is taken here: once per attempt, not once per job.
    async with connections:
        response = await client.get(path)
    response.raise_for_status()
    return response.content


async def fetch_all(client: httpx.AsyncClient, paths: list[str], workers: int) -> list[bytes | Exception]:
    """Fetch all documents; what cannot be had is an exception in the place of its document."""
    connections = FixedLimiter(CONNECTIONS, name="connection")
    return await run_jobs(
        # Functions, not coroutines: a coroutine runs once, and each attempt needs a fresh one.
        [functools.partial(fetch, client, connections, path) for path in paths],
        workers=workers,
        retry=PATIENCE,
        on_error="return",
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
    served: dict[str, Any]


async def fetch_and_count(url: str, wanted: int, workers: int) -> Result:
    """Run the pipeline."""
    manager = get_callback_manager()
    limits = httpx.Limits(max_connections=CONNECTIONS)
    # All that happens in this block is one trace: one tree, one page in Jaeger.
    with manager.as_trace("fetch and count"):
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
            with manager.event(name="read the index"):
                index = (await client.get("/index.json")).json()
            if wanted > len(index):
                raise SystemExit(f"the server has {len(index):,} documents, not {wanted:,}")
            answers = await fetch_all(client, [entry["path"] for entry in index[:wanted]], workers)
            documents = [answer for answer in answers if isinstance(answer, bytes)]
            failures = [answer for answer in answers if isinstance(answer, Exception)]
            tokens = await count_all(documents)
            served = (await client.get("/stats.json")).json()
    return Result(documents, failures, sum(tokens), served)


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
    attempts = types["attempt"]["count"]
    counted = types["job"]["names"]["count_tokens"]["count"]
    ok, failed, served = len(result.documents), len(result.failures), result.served
    size = sum(map(len, result.documents))
    sums = {
        f"{wanted:,} documents = {ok:,} ok + {failed:,} failed": wanted == ok + failed,
        f"{attempts:,} attempts = {served['requests']:,} requests served": attempts == served["requests"],
        f"{served['too_early']:,} of them too early": served["too_early"] == 0,
        f"{size:,} bytes = {served['bytes']:,} bytes served": size == served["bytes"],
        f"{result.tokens:,} tokens in {counted:,} documents": counted == ok,
        f"{events:,} events, {lost:,} lost": lost == 0,
    }
    print(f"\ntotals: {'; '.join(sums)}")
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
                result = asyncio.run(fetch_and_count(url, options.documents, options.workers))
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
    return parser.parse_args()


def positive(text: str) -> int:
    """Return `text` as a number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(f"must be at least 1 (got {text})")
    return number


if __name__ == "__main__":
    sys.exit(main())
