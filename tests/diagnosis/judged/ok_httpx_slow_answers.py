# expect: OK
# names: -
# line: -
# when: end
# httpx: six requests share two connections to a server that takes five seconds for each.
import asyncio

import httpx


async def serve(reader, writer):
    while await reader.readuntil(b"\r\n\r\n"):
        await asyncio.sleep(7)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=2), timeout=None) as client:
        print(await asyncio.gather(*(client.get(url) for _ in range(6))))


asyncio.run(main())
