# expect: OK
# names: -
# line: -
# Many wait for room in the queue, whose reader waits for a lock that another has for a while: no slow stage, it is kept
# waiting.
import asyncio


async def repair(key, seconds):
    async with key:
        await asyncio.sleep(seconds)


async def pack(belt, key):
    while True:
        await belt.get()
        async with key:
            await asyncio.sleep(0)


async def main():
    belt, key = asyncio.Queue(2), asyncio.Lock()
    async with asyncio.TaskGroup() as group:
        repairing = group.create_task(repair(key, 60))
        await asyncio.sleep(0)
        group.create_task(pack(belt, key))
        for n in range(12):
            group.create_task(belt.put(n))
        await repairing


if __name__ == "__main__":
    asyncio.run(main())
