# expect: OK
# names: -
# line: -
# when: end
# The slot is given back before the pause.
import asyncio


class Busy(Exception):
    pass


async def call(slots, n):
    for attempt in range(4):
        async with slots:
            await asyncio.sleep(0.4)
            if n % 3 or attempt:
                return n
        await asyncio.sleep(3)


async def main():
    slots = asyncio.Semaphore(3)
    await asyncio.gather(*(call(slots, n) for n in range(60)))


asyncio.run(main())
