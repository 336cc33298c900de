# expect: LOCK_CYCLE
# names: writer-0, writer-1
# line: 30|36
# when: hang
# Most that one sees is a full queue and a full semaphore: but the readers of the queue are the two
# writers, and these wait in a ring for each other's table.
import asyncio


class Table:
    def __init__(self, name):
        self.name = name
        self.rows = []
        self.lock = asyncio.Lock()

    async def insert(self, row):
        await asyncio.sleep(0.004)
        self.rows.append(row)


class Warehouse:
    def __init__(self):
        self.incoming = asyncio.Queue(maxsize=10)
        self.uploads = asyncio.Semaphore(6)
        self.orders, self.stock = Table("orders"), Table("stock")

    async def _book(self, first, second, row):
        async with first.lock:
            await first.insert(row)
            async with second.lock:
                await second.insert(row)

    async def write(self, first, second):
        while True:
            row = await self.incoming.get()
            await self._book(first, second, row)
            self.incoming.task_done()

    async def upload(self, file):
        async with self.uploads:
            for number in range(8):
                await asyncio.sleep(0.002)
                await self.incoming.put((file, number))


async def count_rows(warehouse):
    while True:
        await asyncio.sleep(0.3)
        print(len(warehouse.orders.rows), "orders")


async def main():
    warehouse = Warehouse()
    counting = asyncio.create_task(count_rows(warehouse), name="count-rows")
    tables = warehouse.orders, warehouse.stock
    writers = [
        asyncio.create_task(warehouse.write(*tables), name="writer-0"),
        asyncio.create_task(warehouse.write(*reversed(tables)), name="writer-1"),
    ]
    async with asyncio.TaskGroup() as group:
        for file in range(30):
            group.create_task(warehouse.upload(f"file {file}"), name=f"upload-{file}")
    await warehouse.incoming.join()
    for task in (*writers, counting):
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
