"""A run with all that the picture of a run can show, two seconds long."""

from __future__ import annotations

import asyncio
import functools
import time

from spanloom import FixedLimiter, RetryPolicy, async_map, get_callback_manager, run_jobs

__all__ = ["crawl"]

POLICY = RetryPolicy(attempts=3, base_delay=0.05, jitter=0.0)


async def crawl() -> None:
    """Fetch on six slots (some fail and are tried again, one is slow), then index; one job blocks the loop."""
    manager = get_callback_manager()
    connections = FixedLimiter(2, name="connections")
    failures = {3: 1, 8: 2, 13: 9, 21: 1}

    async def download(number: int) -> int:
        async with connections:
            await asyncio.sleep(0.01)
        return number

    async def fetch(number: int) -> int:
        with manager.event("call", {"url": f"https://example.org/page/{number}"}, name="download"):
            await asyncio.sleep(0.9 if number == 17 else 0.03 + 0.011 * (number % 5))
        if failures.get(number, 0) > 0:
            failures[number] -= 1
            raise ConnectionError(f"page {number}: connection reset by peer")
        if number % 9 == 4:
            await async_map(download, range(3), desc="attachments")
        if number == 10:
            manager.emit(name="cache miss", payload={"page": number})
        return number

    async def index(number: int) -> None:
        if number == 6:
            time.sleep(0.25)
        await asyncio.sleep(0.01 if number != 6 else 0)

    with manager.as_trace("crawl"):
        pages = [functools.partial(fetch, number) for number in range(40)]
        await run_jobs(pages, workers=6, retry=POLICY, on_error="skip", desc="fetch pages")
        await async_map(index, range(30), limit=4, desc="index")
