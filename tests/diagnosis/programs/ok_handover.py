# expect: OK
# A lock that one task takes and another gives back.
import asyncio


async def give_back(lock):
    await asyncio.sleep(10)
    lock.release()


async def take(lock):
    await lock.acquire()


async def main():
    lock = asyncio.Lock()
    await asyncio.create_task(take(lock))
    giving = asyncio.create_task(give_back(lock))
    await take(lock)
    await giving


if __name__ == "__main__":
    asyncio.run(main())
