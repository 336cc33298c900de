# expect: JOIN_WITHOUT_TASK_DONE
# names: filter_rows
# A filter that forgets task_done() for what it drops, behind a class.
import asyncio


class Pipe:
    def __init__(self):
        self.rows = asyncio.LifoQueue()

    async def filter_rows(self):
        while True:
            row = await self.rows.get()
            if row % 2:
                continue
            self.rows.task_done()

    async def drain(self):
        await self.rows.join()


async def pulse():
    while True:
        await asyncio.sleep(0.01)


async def main():
    pipe = Pipe()
    for n in range(10):
        pipe.rows.put_nowait(n)
    beat = asyncio.create_task(pulse())
    workers = [asyncio.create_task(pipe.filter_rows(), name=f"filter-{n}") for n in range(2)]
    await pipe.drain()
    for task in (*workers, beat):
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
