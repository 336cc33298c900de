# expect: NESTED_LIMITER
# names: translate, book|book-0|book-1
# line: 13|21
# Who holds the semaphore takes outcomes from a stream of ours, whose jobs wait for the same semaphore.
import asyncio

from spanloom import stream

desks = asyncio.Semaphore(2)


async def translate(page):
    async with desks:
        await asyncio.sleep(0.01)
    return page


async def book():
    async with desks:
        await asyncio.sleep(0.01)
        async with stream(translate, range(3), limit=2) as pages:
            async for _ in pages:
                pass


async def main():
    await asyncio.gather(*(asyncio.create_task(book(), name=f"book-{n}") for n in range(2)))


if __name__ == "__main__":
    asyncio.run(main())
