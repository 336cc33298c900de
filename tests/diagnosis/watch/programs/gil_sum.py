# expect: LOOP_BLOCKED
# names: crunch
import asyncio


def beat(loop):
    loop.call_later(0.1, beat, loop)


def crunch():
    return sum(range(10**12))  # here


async def main():
    loop = asyncio.get_running_loop()
    beat(loop)
    loop.call_later(0.3, crunch)
    await asyncio.sleep(3600)


asyncio.run(main())
