# expect: LOOP_BLOCKED
# names: parse
import asyncio


def parse():
    n = 0
    while True:
        n += 1  # here


async def main():
    async with asyncio.TaskGroup() as g:
        g.create_task(tick())
        g.create_task(asyncio.to_thread(print, 1))
        g.create_task(job(), name="parse")


async def job():
    await asyncio.sleep(0.2)
    parse()


async def tick():
    while True:
        await asyncio.sleep(0.3)


asyncio.run(main())
