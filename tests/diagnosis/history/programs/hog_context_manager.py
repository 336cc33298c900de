# expect: SLOT_HOG
# names: query
# line: 28
# when: slow
# A context manager of the program's own gives connections; all are kept while their users sleep.
import asyncio
import contextlib


class Pool:
    def __init__(self, size):
        self._free = asyncio.Semaphore(size)

    @contextlib.asynccontextmanager
    async def connection(self):
        await self._free.acquire()
        try:
            yield self
        finally:
            self._free.release()


async def query(pool, n):
    async with pool.connection():
        last = None
        for attempt in range(6):
            if attempt:
                await asyncio.sleep(45)
            try:
                if n < 2 and attempt < 1:
                    await asyncio.sleep(0.01)
                    raise OSError("deadlock detected")
                return n
            except OSError as error:
                last = error
        raise last


async def main():
    pool = Pool(2)
    await asyncio.gather(*(asyncio.create_task(query(pool, n), name=f"query-{n}") for n in range(12)))


asyncio.run(main())
