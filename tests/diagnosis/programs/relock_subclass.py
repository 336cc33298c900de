# expect: SELF_RELOCK
# names: job
# A subclass of Lock that counts, and does not nest.
import asyncio


class CountingLock(asyncio.Lock):
    def __init__(self):
        super().__init__()
        self.taken = 0

    async def acquire(self):
        result = await super().acquire()
        self.taken += 1
        return result


async def tick():
    while True:
        await asyncio.sleep(0.01)


async def job(lock):
    async with lock, lock:
        pass


async def main():
    ticker = asyncio.create_task(tick())
    await asyncio.shield(asyncio.create_task(job(CountingLock()), name="job"))
    ticker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
