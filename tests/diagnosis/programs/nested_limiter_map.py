# expect: NESTED_LIMITER
# names: outer, inner
# Our own runners with one limiter, inside of each other.
import asyncio

from spanloom import FixedLimiter, async_map, run_jobs

slots = FixedLimiter(2, name="slots", refuse_nested=False)


async def inner(n):
    await asyncio.sleep(0.01)
    return n


async def outer(n):
    async with slots:
        await asyncio.sleep(0.01)
        return await async_map(inner, range(3), limit=slots)


async def main():
    await run_jobs([outer(n) for n in range(4)], workers=4)


if __name__ == "__main__":
    asyncio.run(main())
