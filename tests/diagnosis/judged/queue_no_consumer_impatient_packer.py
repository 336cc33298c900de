# expect: QUEUE_NO_CONSUMER
# names: orders, packer|pack
# line: 26
# when: hang
# The packer stops after half a second because of a timeout that somebody put around it, the shop's
# visitors go on until the queue is full.
import asyncio
import contextlib


class Shop:
    def __init__(self):
        self.orders = asyncio.Queue(10)
        self.packed = 0

    async def pack(self):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    await self.orders.get()
                    self.packed += 1

    async def buy(self, counter, n):
        await asyncio.sleep(n * 0.01)
        async with counter:
            await self.orders.put(n)


async def main():
    shop = Shop()
    counter = asyncio.Semaphore(3)
    async with asyncio.TaskGroup() as group:
        group.create_task(shop.pack(), name="packer")
        for n in range(120):
            group.create_task(shop.buy(counter, n), name=f"visitor-{n}")


if __name__ == "__main__":
    asyncio.run(main())
