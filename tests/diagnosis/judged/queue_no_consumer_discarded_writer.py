# expect: QUEUE_NO_CONSUMER
# names: batch-writer|write_batches, TypeError, outbox
# line: 14|28|31
# when: hang
# The writer died of a mixed batch and its task was discarded from the set that held it; the handlers wait for room.
import asyncio


class Background:
    def __init__(self):
        self.tasks = set()

    def spawn(self, coroutine, name):
        task = asyncio.create_task(coroutine, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class BatchWriter(Background):
    def __init__(self):
        super().__init__()
        self.outbox = asyncio.Queue(6)
        self.total = 0

    async def write_batches(self):
        while True:
            batch = [await self.outbox.get() for _ in range(3)]
            self.total += sum(batch)

    async def save(self, value):
        await self.outbox.put(value)


async def handler(writer, n):
    for value in range(50):
        await asyncio.sleep(0.01)
        await writer.save("7" if (n, value) == (1, 8) else value)


async def main():
    writer = BatchWriter()
    writer.spawn(writer.write_batches(), "batch-writer")
    async with asyncio.TaskGroup() as group:
        for n in range(5):
            group.create_task(handler(writer, n), name=f"handler-{n}")


if __name__ == "__main__":
    asyncio.run(main())
