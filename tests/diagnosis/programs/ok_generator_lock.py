# expect: OK
# An asynchronous generator holds a lock for which others queue.
import asyncio


async def rows(lock):
    async with lock:
        for n in range(1000):
            yield n


async def read(lock):
    async for _ in rows(lock):
        await asyncio.sleep(0.01)


async def main():
    lock = asyncio.Lock()
    await asyncio.gather(read(lock), read(lock), read(lock))


if __name__ == "__main__":
    asyncio.run(main())
