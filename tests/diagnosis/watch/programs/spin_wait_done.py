# expect: BUSY_SPIN
# names: supervise
import asyncio


async def short():
    await asyncio.sleep(0.1)


async def long():
    await asyncio.sleep(500)


async def supervise(tasks):
    running = True
    while running:
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  # here
        if not pending:
            running = False


async def main():
    tasks = [asyncio.create_task(short()), asyncio.create_task(long())]
    await asyncio.create_task(supervise(tasks), name="supervise")


asyncio.run(main())
