# expect: OK
# Both ends of a connection wait for the other's next message, which a timer will send.
import asyncio


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
    writer.close()


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    asyncio.get_running_loop().call_later(10, writer.write, b"hello\n")
    try:
        await reader.readline()
    finally:
        writer.close()
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
