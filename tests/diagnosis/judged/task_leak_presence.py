# expect: TASK_LEAK
# names: ping_loop|ping
# line: 25
# when: end
# Each connection of the chat starts a ping loop, and when the visitor leaves, it pings on: some dozens
# of tasks a second are left behind.
import asyncio
import contextlib


class Room:
    def __init__(self):
        self.members = {}
        self.pings = 0
        self.visits = 0

    async def ping_loop(self, name):
        while True:
            await asyncio.sleep(20)
            self.pings += 1
            self.members.get(name)

    @contextlib.asynccontextmanager
    async def member(self, name, writer):
        self.members[name] = (writer, asyncio.create_task(self.ping_loop(name)))
        try:
            yield
        finally:
            self.visits += 1
            self.members[name] = None
            writer.close()

    async def serve(self, reader, writer):
        name = (await reader.readline()).decode().strip()
        async with self.member(name, writer):
            async for line in reader:
                writer.write(line)
                await writer.drain()


class Visitor:
    def __init__(self, address, name):
        self.address, self.name = address, name

    async def visit(self):
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(f"{self.name}\nhello\n".encode())
        await reader.readline()
        writer.close()


async def visitors(address, prefix):
    for number in range(2_000):
        await Visitor(address, f"{prefix}-{number}").visit()
        await asyncio.sleep(0.05)


async def main():
    room = Room()
    async with await asyncio.start_server(room.serve, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        async with asyncio.TaskGroup() as group:
            for prefix in ("lisbon", "malmo", "lodz"):
                group.create_task(visitors(address, prefix), name=f"visitors-{prefix}")
    print(room.visits)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
