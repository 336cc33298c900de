# expect: OK
# Two tasks of anyio wait for the answer of a slow server, each for an event that the protocol of its socket sets.
import asyncio

import anyio


async def answer(reader, writer):
    await reader.readline()
    await asyncio.sleep(30)
    writer.close()


async def ask(port):
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"what is new?\n")
        await stream.receive()


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await asyncio.gather(ask(port), ask(port))


if __name__ == "__main__":
    asyncio.run(main())
