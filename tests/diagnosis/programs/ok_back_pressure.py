# expect: OK
# Bounded queues do what they are for: a few writers are as fast as their reader, which is all there is to it.
import asyncio


class Stage:
    def __init__(self, source, target, pause):
        self.source = source
        self.target = target
        self.pause = pause

    async def run(self):
        while True:
            item = await self.source.get()
            await asyncio.sleep(self.pause)
            if self.target is not None:
                await self.target.put(item)


async def feed(queue):
    for n in range(1000):
        await queue.put(n)


async def main():
    first, second = asyncio.Queue(4), asyncio.Queue(4)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(feed(first))
        group.create_task(Stage(first, second, 0.03).run())
        group.create_task(Stage(second, None, 0.02).run())


if __name__ == "__main__":
    asyncio.run(main())
