# expect: PIPELINE_BOTTLENECK
# names: persist
# line: 15|20
# when: slow
# Three stages with queues; the last one, `persist`, is slow.
import asyncio


class Stage:
    def __init__(self, name, seconds, inbox, outbox=None):
        self.name, self.seconds = name, seconds
        self.inbox, self.outbox = inbox, outbox

    async def process(self, item):
        await asyncio.sleep(self.seconds)
        return item

    async def run(self):
        while True:
            item = await self.process(await self.inbox.get())
            if self.outbox is not None:
                await self.outbox.put(item)


async def main():
    queues = [asyncio.Queue(4) for _ in range(3)]
    stages = [
        Stage("parse", 0.001, queues[0], queues[1]),
        Stage("enrich", 0.002, queues[1], queues[2]),
        Stage("persist", 0.5, queues[2]),
    ]
    async with asyncio.TaskGroup() as group:
        for stage in stages:
            group.create_task(stage.run(), name=stage.name)
        for number in range(1000):
            await queues[0].put(number)


asyncio.run(main())
