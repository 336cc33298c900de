# expect: LOCK_CYCLE|SELF_RELOCK
# names: parent
# A job holds a lock and waits for a child that needs it.
import asyncio

lock = asyncio.Lock()


async def child(n):
    async with lock:
        return n


async def parent():
    async with lock:
        return await asyncio.gather(*(child(n) for n in range(3)))


async def heartbeat():
    while True:
        await asyncio.sleep(0.05)


async def main():
    beat = asyncio.create_task(heartbeat())
    await asyncio.create_task(parent(), name="parent")
    beat.cancel()


if __name__ == "__main__":
    asyncio.run(main())
