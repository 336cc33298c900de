# expect: SLOT_HOG
# names: slots, download
# line: 26
# when: slow
# Both slots are held by downloads that sleep a minute after a failure.
import asyncio


class Busy(Exception):
    pass


async def get(n, tries):
    await asyncio.sleep(0.01)
    if n < 2 and tries == 0:
        raise Busy(n)
    return n


async def download(slots, n):
    async with slots:
        for tries in range(3):
            try:
                return await get(n, tries)
            except Busy:
                await asyncio.sleep(60)


async def main():
    slots = asyncio.Semaphore(2)
    async with asyncio.TaskGroup() as group:
        for n in range(30):
            group.create_task(download(slots, n), name=f"download-{n}")


asyncio.run(main())
