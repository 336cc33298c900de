"""A pipeline that asks two servers, unaware of spanloom: ``python two_hosts.py JOBS URL URL``.

How long the requests to each took, and the whole, is written to standard output as JSON: the truth that what is read
off the record is compared with.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import httpx

AT_ONCE = 8


async def main(jobs: int, urls: list[str]) -> dict[str, float]:
    took = dict.fromkeys(urls, 0.0)
    slots = asyncio.Semaphore(AT_ONCE)

    async def fetch(number: int) -> None:
        async with slots:
            url = urls[number % 2]
            start = time.perf_counter()
            await client.get(url)
            took[url] += time.perf_counter() - start

    async with httpx.AsyncClient() as client:
        start = time.perf_counter()
        await asyncio.gather(*[fetch(number) for number in range(jobs)])
        return took | {"lasted": time.perf_counter() - start}


if __name__ == "__main__":
    json.dump(asyncio.run(main(int(sys.argv[1]), sys.argv[2:])), sys.stdout)
