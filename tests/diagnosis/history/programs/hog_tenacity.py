# expect: SLOT_HOG
# names: load
# line: 33|34|25
# when: hang
# A pool object made of a semaphore and a deque; who has a connection is retried by a tenacity decorator in it.
import asyncio
import collections
import contextlib

from tenacity import retry, stop_after_attempt, wait_exponential


class Pool:
    def __init__(self, size):
        self._permits = asyncio.Semaphore(size)
        self._free = collections.deque(range(size))

    @contextlib.asynccontextmanager
    async def connection(self):
        async with self._permits:
            one = self._free.popleft()
            try:
                yield one
            finally:
                self._free.append(one)


@retry(stop=stop_after_attempt(8), wait=wait_exponential(multiplier=15, min=15, max=60))
async def query(connection, what):
    await asyncio.sleep(0.02)
    raise OSError(f"{what}: connection reset")


async def load(pool, what):
    async with pool.connection() as connection:
        return await query(connection, what)


async def main():
    pool = Pool(2)
    tasks = [asyncio.create_task(load(pool, f"table {n}"), name=f"load-{n}") for n in range(7)]
    await asyncio.wait(tasks)


asyncio.run(main())
