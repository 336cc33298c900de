# expect: QUEUE_NO_PRODUCER
# names: jobs
# One sentinel for three workers: two of them wait for ever.
import asyncio


async def worker(jobs):
    while await jobs.get() is not None:
        await asyncio.sleep(0)


async def feed(jobs):
    for n in range(9):
        await jobs.put(n)
    await jobs.put(None)


async def main():
    jobs = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        group.create_task(feed(jobs))
        for n in range(3):
            group.create_task(worker(jobs), name=f"worker-{n}")


if __name__ == "__main__":
    asyncio.run(main())
