# expect: LOOP_BLOCKED
# names: fetch
import asyncio
import time


def get(url):
    time.sleep(0.3)  # here
    return url


async def fetch(n):
    await asyncio.sleep(0.01)
    return get(n)  # here


async def main():
    t = asyncio.create_task(tick())
    await asyncio.gather(*(fetch(n) for n in range(100)))


async def tick():
    while True:
        await asyncio.sleep(0.05)


asyncio.run(main())
