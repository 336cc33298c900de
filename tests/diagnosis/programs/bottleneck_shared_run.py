# expect: PIPELINE_BOTTLENECK
# names: render|render-0|render-1
# line: 27|17
# All stages share one method; the slow one has two workers and sleeps in a method that it was given.
import asyncio


class Stage:
    def __init__(self, work, source, target):
        self.work = work
        self.source = source
        self.target = target

    async def run(self):
        while True:
            item = await self.source.get()
            await self.work(item)
            if self.target is not None:
                await self.target.put(item)


async def decode(_):
    await asyncio.sleep(0.002)


async def render(_):
    await asyncio.sleep(1.5)


async def feed(queue):
    for n in range(1000):
        await queue.put(n)


async def main():
    first, second, third = asyncio.Queue(4), asyncio.Queue(4), asyncio.Queue(4)
    stages = {
        "decode": (Stage(decode, first, second), 1),
        "render": (Stage(render, second, third), 2),
        "send": (Stage(decode, third, None), 1),
    }
    async with asyncio.TaskGroup() as group:
        group.create_task(feed(first), name="feed")
        for name, (stage, workers) in stages.items():
            for number in range(workers):
                group.create_task(stage.run(), name=f"{name}-{number}")


if __name__ == "__main__":
    asyncio.run(main())
