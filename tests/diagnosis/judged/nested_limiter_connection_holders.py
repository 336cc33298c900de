# expect: NESTED_LIMITER
# names: import_file
# line: 30|40|49|50
# when: hang
# Like asyncpg: a queue of holders; a job takes a connection, and its helper another one of the same pool.
import asyncio


class Holder:
    def __init__(self, pool, number):
        self.pool = pool
        self.number = number
        self.in_use = False

    async def acquire(self):
        self.in_use = True
        return self

    async def fetch(self, sql):
        await asyncio.sleep(0.01)
        return [sql]


class Pool:
    def __init__(self, size):
        self._queue = asyncio.LifoQueue(maxsize=size)
        for n in range(size):
            self._queue.put_nowait(Holder(self, n))

    async def acquire(self):
        holder = await self._queue.get()
        return await holder.acquire()

    def release(self, holder):
        holder.in_use = False
        self._queue.put_nowait(holder)


async def known(pool, key):
    connection = await pool.acquire()
    try:
        return bool(await connection.fetch(f"select 1 where key = {key}"))
    finally:
        pool.release(connection)


async def import_file(pool, file):
    connection = await pool.acquire()
    try:
        for row in await connection.fetch(f"copy {file}"):
            if not await known(pool, row):
                await connection.fetch(f"insert {row}")
    finally:
        pool.release(connection)


async def main():
    pool = Pool(2)
    await asyncio.gather(*(import_file(pool, f"{n}.csv") for n in range(2)))


asyncio.run(main())
