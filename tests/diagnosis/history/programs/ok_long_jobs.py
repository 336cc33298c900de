# expect: OK
# names: -
# line: -
# when: end
# A job of eight seconds is started five times a second: many at once, and each ends.
import asyncio


async def encode(n):
    await asyncio.sleep(8)
    return n


async def main():
    async with asyncio.TaskGroup() as group:
        for n in range(60):
            group.create_task(encode(n))
            await asyncio.sleep(0.2)


asyncio.run(main())
