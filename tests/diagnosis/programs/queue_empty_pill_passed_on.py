# expect: QUEUE_NO_PRODUCER
# names: work, jobs
# Each worker passes the last item on when it ends, but nobody has put the first one: it is no pool.
import asyncio


async def work(jobs):
    try:
        while True:
            job = await jobs.get()
            if job is None:
                return
    finally:
        jobs.put_nowait(None)


async def main():
    jobs = asyncio.Queue()
    workers = [asyncio.create_task(work(jobs), name=f"work-{number}") for number in range(3)]
    for number in range(5):
        jobs.put_nowait(number)
    await asyncio.gather(*workers)


asyncio.run(main())
