# expect: OK
# names: -
# line: -
# Clients come to a server at twenty a second, and stay: each of them waits for its peer.
import asyncio


async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line)


async def client(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"hello\n")
    while await reader.readline():
        pass


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    async with asyncio.TaskGroup() as group:
        for _ in range(400):
            group.create_task(client(address))
            await asyncio.sleep(0.05)


asyncio.run(main())
