# expect: PIPELINE_BOTTLENECK
# names: upload
# line: 25
# Three stages and two bounded queues in a class; the last stage is slow.
import asyncio


class Line:
    def __init__(self):
        self.raw = asyncio.Queue(2)
        self.packed = asyncio.Queue(2)

    async def read(self):
        for n in range(1000):
            await self.raw.put(n)

    async def pack(self):
        while True:
            item = await self.raw.get()
            await self.packed.put([item])

    async def upload(self):
        while True:
            await self.packed.get()
            await asyncio.sleep(2)


async def main():
    line = Line()
    async with asyncio.TaskGroup() as group:
        for stage in (line.read, line.pack, line.pack, line.upload):
            group.create_task(stage(), name=stage.__name__)


if __name__ == "__main__":
    asyncio.run(main())
