# expect: OK
# names: -
# line: -
# when: end
# A pool of connections that is a queue: it is empty most of the time, and whoever holds a connection
# puts it back when the query has ended.
import asyncio
import contextlib


class Connection:
    def __init__(self, number):
        self.number = number
        self.queries = 0

    async def query(self, statement):
        await asyncio.sleep(2.5 if "report" in statement else 0.2)
        self.queries += 1
        return statement


class Pool:
    def __init__(self, size):
        self._idle = asyncio.LifoQueue()
        for number in range(size):
            self._idle.put_nowait(Connection(number))

    @contextlib.asynccontextmanager
    async def connection(self):
        connection = await self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put_nowait(connection)


async def month(pool, number):
    async with pool.connection() as connection:
        await connection.query(f"report of month {number}")
    async with pool.connection() as connection:
        return await connection.query(f"update {number}")


async def main():
    pool = Pool(3)
    months = [asyncio.create_task(month(pool, n), name=f"month-{n}") for n in range(24)]
    print(len(await asyncio.gather(*months)), "months")


if __name__ == "__main__":
    asyncio.run(main())
