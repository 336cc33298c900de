# expect: OK
# Two runners of ours, one inside of the other, with limiters of their own.
import asyncio

from spanloom import FixedLimiter, async_map, run_jobs

inner_slots = FixedLimiter(2)


async def inner(n):
    await asyncio.sleep(0.05)
    return n


async def outer(n):
    return await async_map(inner, range(50), limit=inner_slots)


async def main():
    await run_jobs([outer(n) for n in range(4)], workers=2)


if __name__ == "__main__":
    asyncio.run(main())
