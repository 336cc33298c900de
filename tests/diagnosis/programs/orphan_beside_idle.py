# expect: ORPHAN_FUTURE
# names: answer
# line: 17
# The worker has no work any more, as those who gave it some have ended; what is wrong is the answer that is not given.
import asyncio


async def give(jobs, n):
    await jobs.put(n)


async def work(jobs):
    while True:
        await jobs.get()


async def ask(reply):
    return await reply


async def main():
    jobs = asyncio.Queue()
    worker = asyncio.create_task(work(jobs), name="worker")
    given = [asyncio.create_task(give(jobs, n)) for n in range(3)]
    await asyncio.wait(given)
    await asyncio.create_task(ask(asyncio.get_running_loop().create_future()), name="answer")
    worker.cancel()
    given.clear()


if __name__ == "__main__":
    asyncio.run(main())
