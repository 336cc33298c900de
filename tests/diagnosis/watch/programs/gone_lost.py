# expect: QUEUE_NO_CONSUMER
# names: batch-writer, TypeError, outbox
# The writer died, and nobody keeps its task: what asyncio said of the loss is remembered.
import asyncio


class Background:
    def __init__(self):
        self.tasks = set()

    def spawn(self, coroutine, name):
        task = asyncio.create_task(coroutine, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Writer:
    def __init__(self):
        self.outbox = asyncio.Queue(2)
        self.total = 0

    async def write_batches(self):
        while True:
            self.total += await self.outbox.get()


async def save(writer):
    for value in (1, 2, "3", 4, 5, 6, 7):
        await writer.outbox.put(value)  # here


async def main():
    writer, background = Writer(), Background()
    background.spawn(writer.write_batches(), "batch-writer")
    await asyncio.create_task(save(writer), name="saver")


if __name__ == "__main__":
    asyncio.run(main())
