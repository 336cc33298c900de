# expect: PERMIT_LEAK
# names: serve
# line: 15
# Permits of our own limiter are lost on an early return; a task beside reads how many are in use.
import asyncio

from spanloom import FixedLimiter


class Shop:
    def __init__(self):
        self.seats = FixedLimiter(2, name="seats")

    async def serve(self, guest):
        await self.seats.acquire()
        if guest % 2:
            return
        await asyncio.sleep(0.02)
        self.seats.release()


async def report(shop):
    guard = asyncio.Lock()
    while True:
        async with guard:
            _ = shop.seats.in_use
        await asyncio.sleep(0.05)


async def main():
    shop = Shop()
    monitor = asyncio.create_task(report(shop), name="report")
    await asyncio.gather(*(asyncio.create_task(shop.serve(n), name=f"guest-{n}") for n in range(8)))
    monitor.cancel()


if __name__ == "__main__":
    asyncio.run(main())
