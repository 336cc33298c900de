# expect: NESTED_LIMITER
# names: follow, 2 tasks
# line: 30
# when: hang
# httpx, two connections, no timeout for the pool: two streams make another request each, and a third waits.
import asyncio

import httpx


async def serve(reader, writer):
    request = await reader.readuntil(b"\r\n\r\n")
    if request.startswith(b"GET /stream"):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"4\r\nline\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            return
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()


async def follow(client, base, name):
    async with client.stream("GET", f"{base}/stream/{name}") as answer:
        async for _ in answer.aiter_raw():
            await asyncio.sleep(0.2)
            more = await client.get(f"{base}/more")
            print(more.status_code)


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    limits = httpx.Limits(max_connections=2)
    async with httpx.AsyncClient(limits=limits, timeout=None) as client:
        await asyncio.gather(*(follow(client, base, name) for name in "abc"))


asyncio.run(main())
