# expect: NESTED_LIMITER
# names: report
# A pool that hands connections to futures in a deque of waiters; reports take one and then another one inside.
import asyncio
from collections import deque


class Pool:
    def __init__(self, size):
        self._free = deque(f"connection {n}" for n in range(size))
        self._waiters = deque()

    def acquire(self):
        return _Taken(self)

    async def _take(self):
        if self._free:
            return self._free.popleft()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiters.remove(waiter)
            raise

    def _give(self, connection):
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._free.append(connection)


class _Taken:
    def __init__(self, pool):
        self._pool = pool

    async def __aenter__(self):
        self._connection = await self._pool._take()
        return self._connection

    async def __aexit__(self, *_):
        self._pool._give(self._connection)


async def report(pool):
    async with pool.acquire():
        await asyncio.sleep(0.02)
        async with pool.acquire():
            await asyncio.sleep(0)


async def main():
    pool = Pool(3)
    async with asyncio.TaskGroup() as group:
        for n in range(5):
            group.create_task(report(pool), name=f"report-{n}")


asyncio.run(main())
