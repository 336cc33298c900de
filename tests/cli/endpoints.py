"""A pipeline with four endpoints, one of which may be slow: ``python endpoints.py FILE [--slow ENDPOINT:SECONDS] ...``.

Each job waits for one of a few connections and calls one endpoint, whose answer takes 5 to 15 ms. How long every call
took, and was asked to take, is written to standard output as JSON: the truth that what is read off the record is
compared with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time

from spanloom import (
    CallbackManager,
    FixedLimiter,
    RetryPolicy,
    async_map,
    get_callback_manager,
    use_callback_manager,
)
from spanloom.exceptions import StoreError
from spanloom.handlers.record import RecordHandler
from spanloom.store import StoreReader

ENDPOINTS = ("users", "orders", "items", "search")


def is_written_as_open(file: str, index: int) -> bool:
    try:
        with StoreReader(file) as store:
            records = store.records(store.find("last"), is_open=True)
            return any(found.job_index == index and found.type == "job" for found in records)
    except StoreError:  # it is not there yet
        return False


async def main(options: argparse.Namespace) -> dict[str, float]:
    slow = dict(part.split(":") for part in options.slow)
    connections = FixedLimiter(options.connections, name="connection")
    took = dict.fromkeys([*ENDPOINTS, *(f"asked {endpoint}" for endpoint in ENDPOINTS)], 0.0)
    rnd = random.Random(7)
    pauses = [rnd.uniform(0.005, 0.015) for _ in range(options.jobs)]
    tries: set[int] = set()

    async def fetch(index: int) -> int:
        endpoint = ENDPOINTS[index % len(ENDPOINTS)]
        async with connections:
            with get_callback_manager().event("step", name=f"GET /{endpoint}"):
                asked_s = pauses[index] + float(slow.get(endpoint, 0))
                start = time.perf_counter()
                await asyncio.sleep(asked_s)
                took[endpoint] += time.perf_counter() - start
                took[f"asked {endpoint}"] += asked_s
        if index % 50 == 49 and index not in tries:
            tries.add(index)
            raise ConnectionError(f"lost connection {index} to 'host-{index}'")
        if options.bad and index % 10 == 1:
            raise ValueError(f"order {index} has no customer")
        if index == options.kill_at:
            deadline = time.monotonic() + 30
            while not is_written_as_open(options.file, index) and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            os.kill(os.getpid(), signal.SIGKILL)
        return index

    with get_callback_manager().as_trace("load everything"):
        await async_map(
            fetch,
            range(options.jobs),
            limit=options.workers,
            retry=RetryPolicy(attempts=2, base_delay=0.01, retry_on=ConnectionError),
            on_error="return",
            desc="load",
        )
    return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--slow", action="append", default=[])
    parser.add_argument("--bad", action="store_true")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--kill-at", type=int, default=-1)
    given = parser.parse_args()
    with CallbackManager([RecordHandler(given.file)]) as manager, use_callback_manager(manager):
        found = asyncio.run(main(given))
    json.dump(found, sys.stdout)
