# expect: TASK_LEAK
# names: keep_alive
# line: 20
# when: end
# Every connection starts a keep-alive task that outlives it: visitors come and go, the tasks stay.
import asyncio


class Connection:
    def __init__(self, reader, writer, tasks):
        self.reader, self.writer, self.tasks = reader, writer, tasks
        self.missed = 0

    async def keep_alive(self):
        while self.missed < 1000:
            await asyncio.sleep(30)
            self.missed += 1

    async def serve(self):
        self.tasks.append(asyncio.create_task(self.keep_alive()))
        while line := await self.reader.readline():
            self.writer.write(line)
            await self.writer.drain()
        self.writer.close()


class EchoServer:
    def __init__(self):
        self.tasks = []
        self.server = None

    async def on_connect(self, reader, writer):
        await Connection(reader, writer, self.tasks).serve()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.on_connect, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info):
        self.server.close()


async def visit(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"hello\n")
    await reader.readline()
    writer.close()


async def main():
    async with EchoServer() as echo:
        address = echo.server.sockets[0].getsockname()
        for _ in range(4000):
            await visit(address)
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
