# expect: NESTED_LIMITER
# names: transfer, balance
# A pool like those of database drivers: a deque of connections and a condition. Each transaction opens a second one.
import asyncio
import collections


class Connection:
    async def execute(self, sql):
        await asyncio.sleep(0.01)
        return sql


class Pool:
    def __init__(self, size):
        self._size = size
        self._made = 0
        self._idle = collections.deque()
        self._cond = asyncio.Condition()

    async def acquire(self):
        async with self._cond:
            while not self._idle:
                if self._made < self._size:
                    self._made += 1
                    return Connection()
                await self._cond.wait()
            return self._idle.popleft()

    async def release(self, connection):
        async with self._cond:
            self._idle.append(connection)
            self._cond.notify()


async def balance(pool, account):
    connection = await pool.acquire()
    try:
        return await connection.execute(f"select {account}")
    finally:
        await pool.release(connection)


async def transfer(pool, source, target):
    connection = await pool.acquire()
    try:
        await connection.execute("begin")
        amount = await balance(pool, source)
        await connection.execute(f"update {target} {amount}")
    finally:
        await pool.release(connection)


async def main():
    pool = Pool(4)
    await asyncio.gather(*(transfer(pool, n, n + 1) for n in range(8)))


asyncio.run(main())
