# expect: LOST_EXCEPTION
# names: probe-1, OSError
# line: 12
# when: end
# The results of asyncio.wait are never looked at.
import asyncio


async def probe(n):
    await asyncio.sleep(0.05 * n)
    if n == 1:
        raise OSError("no route to host")


async def check_all():
    await asyncio.wait([asyncio.create_task(probe(n), name=f"probe-{n}") for n in range(3)])


async def main():
    await check_all()
    await asyncio.sleep(60)


asyncio.run(main())
