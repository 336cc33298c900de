# expect: OK
# names: -
# line: -
# when: end
# Tasks are made faster than four of them at a time can end, but they do end.
import asyncio


async def fetch(slots, n):
    async with slots:
        await asyncio.sleep(0.1)
        return n


async def main():
    slots, tasks = asyncio.Semaphore(4), []
    for n in range(300):
        tasks.append(asyncio.create_task(fetch(slots, n)))
        await asyncio.sleep(0.015)
    await asyncio.gather(*tasks)


asyncio.run(main())
