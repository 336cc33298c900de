# expect: OK
# The work is done, the workers wait for more, and the main task goes on with something else.
import asyncio


async def work(jobs):
    while True:
        await jobs.get()
        jobs.task_done()


async def produce(jobs, n):
    for k in range(n):
        await jobs.put(k)


async def main():
    jobs = asyncio.Queue(2)
    workers = [asyncio.create_task(work(jobs)) for _ in range(3)]
    await asyncio.gather(*(asyncio.create_task(produce(jobs, 5)) for _ in range(3)))
    await jobs.join()
    await asyncio.sleep(20)
    for worker in workers:
        worker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
