# expect: OK
# The main task awaits a future for ever, beside a server.
import asyncio


async def visited(reader, writer):
    writer.close()


async def main():
    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    stopped = asyncio.get_running_loop().create_future()
    await stopped
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
