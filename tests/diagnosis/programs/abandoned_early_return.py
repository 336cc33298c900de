# expect: LOCK_ABANDONED
# names: lock
# A job returns without releasing.
import asyncio


async def first(lock):
    await lock.acquire()
    await asyncio.sleep(0.01)
    if lock.locked():
        return
    lock.release()


async def second(lock):
    await asyncio.sleep(0.02)
    async with lock:
        pass


async def tick():
    while True:
        await asyncio.sleep(0.01)


async def main():
    lock = asyncio.Lock()
    ticker = asyncio.create_task(tick())
    taker = asyncio.create_task(first(lock), name="taker")
    await asyncio.gather(*(asyncio.create_task(second(lock), name=f"user-{n}") for n in range(3)))
    await taker
    ticker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
