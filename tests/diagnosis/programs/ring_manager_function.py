# expect: LOCK_CYCLE
# names: alpha, beta
# The locks are taken by an @asynccontextmanager, and a ticker goes on.
import asyncio
import contextlib


class Room:
    def __init__(self):
        self.door = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def entered(self):
        async with self.door:
            yield self


async def visit(first, second):
    async with first.entered():
        await asyncio.sleep(0.02)
        async with second.entered():
            pass


async def tick():
    while True:
        await asyncio.sleep(0.05)


async def main():
    kitchen, cellar = Room(), Room()
    ticker = asyncio.create_task(tick())
    await asyncio.gather(
        asyncio.create_task(visit(kitchen, cellar), name="alpha"),
        asyncio.create_task(visit(cellar, kitchen), name="beta"),
    )
    ticker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
