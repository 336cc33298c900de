# expect: OK
# names: -
import asyncio


async def main():
    async with asyncio.TaskGroup() as g:
        g.create_task(tick())
        g.create_task(job())


async def job():
    while True:
        sum(range(2_000_000))
        await asyncio.sleep(0.1)


async def tick():
    while True:
        await asyncio.sleep(0.05)


asyncio.run(main())
