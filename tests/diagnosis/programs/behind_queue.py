# expect: QUEUE_NO_CONSUMER
# names: results
# Jobs that hold slots and a lock wait for a full queue: the queue is the cause.
import asyncio


class Pipeline:
    def __init__(self):
        self.results = asyncio.Queue(1)
        self.slots = asyncio.Semaphore(2)
        self.lock = asyncio.Lock()

    async def save(self):
        await self.results.get()
        raise KeyError("table")

    async def work(self, n):
        async with self.slots, self.lock:
            await self.results.put(n)


async def tick():
    while True:
        await asyncio.sleep(0.01)


async def main():
    pipeline = Pipeline()
    ticker = asyncio.create_task(tick())
    saver = asyncio.create_task(pipeline.save(), name="saver")
    await asyncio.gather(*(pipeline.work(n) for n in range(6)))
    await saver
    ticker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
