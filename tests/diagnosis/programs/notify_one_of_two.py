# expect: LOST_NOTIFY
# names: changed
# notify() wakes one waiter, and two wait; a ticker of the same object goes on.
import asyncio


class Stock:
    def __init__(self):
        self.changed = asyncio.Condition()
        self.count = 0
        self.ticks = 0

    async def take(self):
        async with self.changed:
            await self.changed.wait_for(lambda: self.count)

    async def fill(self):
        await asyncio.sleep(0.02)
        async with self.changed:
            self.count += 1
            self.changed.notify()

    async def tick(self):
        while True:
            await asyncio.sleep(0.01)
            self.ticks += 1


async def main():
    stock = Stock()
    ticking = asyncio.create_task(stock.tick())
    takers = [asyncio.create_task(stock.take(), name=f"taker-{n}") for n in range(2)]
    filler = asyncio.create_task(stock.fill(), name="filler")
    for task in (*takers, filler):
        await task
    ticking.cancel()


if __name__ == "__main__":
    asyncio.run(main())
