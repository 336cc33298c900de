# expect: OK
# names: -
import asyncio


def crunch(n):
    t = 0
    for i in range(10**9):
        t += i * n
    return t


async def tick():
    while True:
        await asyncio.sleep(0.05)


async def main():
    await asyncio.gather(tick(), *(asyncio.to_thread(crunch, n) for n in range(3)))


asyncio.run(main())
