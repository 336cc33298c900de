# expect: STRAGGLER
# names: convert-5
# line: 13
# when: slow
# Thirty conversions by child processes are done at once, one child sleeps for two minutes.
import asyncio


async def convert(number, slots):
    async with slots:
        seconds = 120 if number == 5 else 0.01
        child = await asyncio.create_subprocess_exec("sleep", str(seconds))
        return await child.wait()


async def main():
    slots = asyncio.Semaphore(6)
    jobs = {asyncio.create_task(convert(n, slots), name=f"convert-{n}") for n in range(30)}
    while jobs:
        done, jobs = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in done:
            print(job.get_name(), job.result())


asyncio.run(main())
