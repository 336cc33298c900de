# expect: OK
# One of two is enough, and one of them never comes.
import asyncio


async def never():
    await asyncio.get_running_loop().create_future()


async def main():
    tasks = [asyncio.create_task(never()), asyncio.create_task(asyncio.sleep(10))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
