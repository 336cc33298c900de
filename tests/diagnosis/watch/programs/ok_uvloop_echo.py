# expect: OK
# names: -
# Under uvloop: a server and a client that play ping-pong as fast as they can.
import asyncio

import uvloop


async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)
        await writer.drain()


async def play(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        writer.write(b"ping\n")
        await reader.readline()


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    await play(server.sockets[0].getsockname()[1])


uvloop.run(main())
