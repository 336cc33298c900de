# expect: LOCK_ABANDONED
# names: _lock, writer-1
# line: 13
# Whoever has nothing to write keeps the lock that a helper took for him; he has ended well, and so is told by names.
import asyncio


class Lease:
    def __init__(self):
        self._lock = asyncio.Lock()

    async def take(self):
        await self._lock.acquire()

    def give_back(self):
        self._lock.release()


async def write(lease, words):
    await lease.take()
    if words:
        await asyncio.sleep(0)
        lease.give_back()


async def main():
    lease = Lease()
    texts = ["the first", "", "the third", "the last"]
    tasks = [asyncio.create_task(write(lease, text), name=f"writer-{n}") for n, text in enumerate(texts)]
    await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(main())
