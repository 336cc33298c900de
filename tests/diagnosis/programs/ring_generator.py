# expect: LOCK_CYCLE
# names: alpha, beta
# An asynchronous generator holds a lock between two items.
import asyncio


async def rows(lock):
    async with lock:
        for n in range(3):
            yield n


async def copy(source, target):
    async for row in rows(source):
        await asyncio.sleep(0.02)
        async with target:
            row += 1


async def main():
    one, two = asyncio.Lock(), asyncio.Lock()
    await asyncio.gather(
        asyncio.create_task(copy(one, two), name="alpha"), asyncio.create_task(copy(two, one), name="beta")
    )


if __name__ == "__main__":
    asyncio.run(main())
