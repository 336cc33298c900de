# expect: PIPELINE_BOTTLENECK
# names: compress
# line: 38
# The slow stage runs each item in a pool of one thread; the queues are wrapped, and read by their async generators.
import asyncio
import concurrent.futures
import time


class Belt:
    def __init__(self, size):
        self._items = asyncio.Queue(size)

    async def lay(self, item):
        await self._items.put(item)

    async def __aiter__(self):
        while True:
            yield await self._items.get()
            self._items.task_done()


async def shoot(belt):
    for n in range(1000):
        await belt.lay(n)


async def crop(source, target):
    async for item in source:
        await asyncio.sleep(0.001)
        await target.lay(item)


async def compress(source):
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        async for _ in source:
            await loop.run_in_executor(pool, time.sleep, 1.5)


async def main():
    raw, cropped = Belt(3), Belt(3)
    async with asyncio.TaskGroup() as group:
        group.create_task(shoot(raw))
        group.create_task(crop(raw, cropped))
        group.create_task(compress(cropped))


if __name__ == "__main__":
    asyncio.run(main())
