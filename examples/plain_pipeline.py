"""A pipeline that knows nothing of spanloom: plain asyncio, a semaphore, a thread pool.

Run it by itself, or look into it without changing it:

    python examples/plain_pipeline.py
    spanloom run examples/plain_pipeline.py && spanloom show
    spanloom run --handlers progress examples/plain_pipeline.py
"""

import asyncio
import hashlib
from asyncio import gather
from concurrent.futures import ThreadPoolExecutor

DOCUMENTS = 24
AT_ONCE = 4


def digest(text):
    """Work that takes the processor."""
    return hashlib.pbkdf2_hmac("sha256", text.encode(), b"salt", 2_000).hex()[:8]


async def fetch(number):
    """Work that waits."""
    await asyncio.sleep(0.01 + number % 3 * 0.005)
    if number % 10 == 7:
        raise ConnectionError(f"document {number} is not there")
    return f"document {number}"


async def process(number, semaphore, pool):
    """One document: fetched when there is room, digested in a thread."""
    async with semaphore:
        text = await asyncio.wait_for(fetch(number), timeout=5)
    return await asyncio.get_running_loop().run_in_executor(pool, digest, text)


async def main():
    """Process all documents, some at a time."""
    semaphore = asyncio.Semaphore(AT_ONCE)
    with ThreadPoolExecutor(2) as pool:
        results = await gather(
            *[process(number, semaphore, pool) for number in range(DOCUMENTS)], return_exceptions=True
        )
    failed = [error for error in results if isinstance(error, Exception)]
    print(f"{DOCUMENTS - len(failed)} digested, {len(failed)} failed")
    print("last:", results[-1])


if __name__ == "__main__":
    asyncio.run(main())
