# expect: SELF_RELOCK
# names: job, _lock
# Taken by hand, and again in a method that is called.
import asyncio


class Ledger:
    def __init__(self):
        self._lock = asyncio.Lock()

    async def book(self):
        await self._lock.acquire()
        try:
            await self.total()
        finally:
            self._lock.release()

    async def total(self):
        async with self._lock:
            return 1


async def main():
    await asyncio.create_task(Ledger().book(), name="job")


if __name__ == "__main__":
    asyncio.run(main())
