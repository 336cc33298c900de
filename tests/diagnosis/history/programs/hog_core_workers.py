# expect: SLOT_HOG
# names: embed
# line: 20
# when: slow
# The slots of a batch with a plain limit sleep by its own retry policy.
import asyncio

from spanloom import RetryPolicy, async_map


async def embed(n):
    await asyncio.sleep(0.01)
    if n < 5:
        raise ConnectionError("503")
    return n


async def main():
    policy = RetryPolicy(attempts=4, base_delay=40, max_delay=40, jitter=0.0)
    await async_map(embed, range(100), limit=5, retry=policy)


asyncio.run(main())
