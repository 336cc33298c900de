# expect: PIPELINE_BOTTLENECK
# names: encode|encoder-0|encoder-1
# line: 17|23|26|36
# when: slow
# Four stages with bounded queues between them; the two encoders in the middle take half a second for
# what takes the others milliseconds.
import asyncio


class Stage:
    def __init__(self, name, seconds, workers, inbox, outbox):
        self.name, self.seconds, self.workers = name, seconds, workers
        self.inbox, self.outbox = inbox, outbox
        self.handled = 0

    async def work(self, item):
        await asyncio.sleep(self.seconds)
        return f"{self.name}({item})"

    async def run(self):
        while True:
            item = await self.inbox.get()
            result = await self.work(item)
            self.handled += 1
            if self.outbox is not None:
                await self.outbox.put(result)
            self.inbox.task_done()

    def start(self, group):
        return [group.create_task(self.run(), name=f"{self.name}-{number}") for number in range(self.workers)]


async def camera(queue, frames):
    for number in range(frames):
        await asyncio.sleep(0.003)
        await queue.put(f"frame {number}")


async def main():
    decoded, scaled, encoded, stored = (asyncio.Queue(maxsize=6) for _ in range(4))
    stages = [
        Stage("scaler", 0.005, 3, decoded, scaled),
        Stage("encoder", 0.5, 2, scaled, encoded),
        Stage("muxer", 0.004, 1, encoded, stored),
        Stage("uploader", 0.006, 2, stored, None),
    ]
    async with asyncio.TaskGroup() as group:
        workers = [worker for stage in stages for worker in stage.start(group)]
        await asyncio.gather(*(camera(decoded, 40) for _ in range(3)))
        for queue in (decoded, scaled, encoded, stored):
            await queue.join()
        for worker in workers:
            worker.cancel()
    print([stage.handled for stage in stages])


if __name__ == "__main__":
    asyncio.run(main())
