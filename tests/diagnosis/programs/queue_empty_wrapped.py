# expect: QUEUE_NO_PRODUCER
# names: load|loader
# The loader died; who waits does so behind a class, with a ticker and a live main loop beside it.
import asyncio


class Inbox:
    def __init__(self):
        self._items = asyncio.PriorityQueue()

    async def receive(self):
        return await self._items.get()

    def deliver(self, item):
        self._items.put_nowait(item)


async def load(inbox):
    await asyncio.sleep(0.01)
    inbox.deliver(1)
    raise OSError("disk gone")


async def handle(inbox):
    while True:
        await inbox.receive()


async def main():
    inbox = Inbox()
    loader = asyncio.create_task(load(inbox), name="loader")
    handlers = [asyncio.create_task(handle(inbox), name=f"handler-{n}") for n in range(2)]
    while True:
        await asyncio.sleep(0.02)
        if all(task.done() for task in handlers):
            break
    await loader


if __name__ == "__main__":
    asyncio.run(main())
