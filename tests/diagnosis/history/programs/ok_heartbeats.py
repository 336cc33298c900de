# expect: OK
# names: -
# line: -
# when: hang
# Clients come, twenty a second, and stay; each connection has a heartbeat of its own, one way or another.
import asyncio
import contextlib


async def heartbeat(writer):
    while True:
        await asyncio.sleep(20)
        writer.write(b"ping\n")


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def serve(self):
        self.beat = asyncio.create_task(heartbeat(self.writer))
        try:
            await self.reader.readline()
        finally:
            self.beat.cancel()


async def serve_in_group(reader, writer):
    async with asyncio.TaskGroup() as group:
        beat = group.create_task(heartbeat(writer))
        await reader.readline()
        beat.cancel()


@contextlib.asynccontextmanager
async def beating(writer):
    beat = asyncio.create_task(heartbeat(writer))
    try:
        yield
    finally:
        beat.cancel()


async def serve_in_block(reader, writer):
    async with beating(writer):
        await reader.readline()


async def serve(reader, writer):
    ways = Connection(reader, writer).serve, serve_in_group, serve_in_block
    way = ways[writer.get_extra_info("peername")[1] % 3]
    await (way() if way == ways[0] else way(reader, writer))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    links = []
    for _ in range(400):
        links.append(await asyncio.open_connection(*address))
        await asyncio.sleep(0.05)


asyncio.run(main())
