# expect: OK
# names: -
# line: -
# when: hang
# Whoever calls the server takes and gives by methods of the program's own, and the one that takes does not wait where
# a guest has a voucher: so who queues for the semaphore may get on.
import asyncio


class Tables:
    def __init__(self):
        self._free = asyncio.Semaphore(1)
        self.vouchers = {"ada"}

    async def acquire(self, guest=None):
        if guest not in self.vouchers:
            await self._free.acquire()

    def release(self):
        self._free.release()


class Restaurant:
    def __init__(self):
        self.tables = Tables()

    async def serve(self, reader, writer):
        guest = (await reader.readline()).decode().strip()
        await self.tables.acquire(guest)
        writer.write(b"soup\n")
        self.tables.release()
        writer.close()


async def reserve(restaurant, n):
    await restaurant.tables.acquire()
    return n


async def main():
    restaurant = Restaurant()
    server = await asyncio.start_server(restaurant.serve, "127.0.0.1", 0)
    async with server, asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(reserve(restaurant, n), name=f"reserve-{n}")
        group.create_task(server.serve_forever(), name="server")


if __name__ == "__main__":
    asyncio.run(main())
