# expect: NESTED_LIMITER
# names: save_order|save, write_audit
# line: 30|46|50
# when: hang
# Every order holds one connection of the pool for its transaction and wants a second one for the
# audit trail; with as many orders at once as connections, nobody gets it.
import asyncio
import collections
import contextlib


class Connection:
    def __init__(self, number):
        self.number = number
        self.statements = 0

    async def execute(self, statement):
        await asyncio.sleep(0.01)
        self.statements += 1
        return statement


class Pool:
    def __init__(self, size):
        self._free = collections.deque(Connection(number) for number in range(size))
        self._available = asyncio.BoundedSemaphore(size)

    @contextlib.asynccontextmanager
    async def connection(self):
        await self._available.acquire()
        connection = self._free.popleft()
        try:
            yield connection
        finally:
            self._free.append(connection)
            self._available.release()


class Orders:
    def __init__(self, pool):
        self.pool = pool

    async def save_order(self, order):
        async with self.pool.connection() as connection:
            await connection.execute(f"insert into orders values ({order})")
            await self.write_audit("orders", order)
            await connection.execute("commit")

    async def write_audit(self, table, key):
        async with self.pool.connection() as connection:
            await connection.execute(f"insert into audit values ('{table}', {key})")


async def clerk(orders, numbers):
    for number in numbers:
        await orders.save_order(number)


async def print_statistics(pool):
    while True:
        await asyncio.sleep(0.25)


async def main():
    pool = Pool(4)
    orders = Orders(pool)
    statistics = asyncio.create_task(print_statistics(pool), name="statistics")
    async with asyncio.TaskGroup() as group:
        for n in range(7):
            group.create_task(clerk(orders, range(n * 100, n * 100 + 20)), name=f"clerk-{n}")
    statistics.cancel()


if __name__ == "__main__":
    asyncio.run(main())
