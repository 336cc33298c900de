# expect: OK
# names: -
# line: -
# when: hang
# Visitors come and stay; the handler of each waits for the next line or for the stop, the watcher for a line in time.
import asyncio


async def handle(reader, writer, stop, watched):
    stopped = asyncio.create_task(stop.wait())
    other = asyncio.create_task(watch(*await watched.get()))
    while not stopped.done():
        line = asyncio.create_task(reader.readline())
        await asyncio.wait({line, stopped}, return_when=asyncio.FIRST_COMPLETED, timeout=600)
        writer.write(line.result())
    other.cancel()


async def watch(reader, writer):
    while True:
        writer.write(b"hello\n")
        await asyncio.wait_for(reader.readline(), 900)
        await asyncio.wait_for(reader.readline(), 900)


async def main():
    stop, watched = asyncio.Event(), asyncio.Queue()
    server = await asyncio.start_server(lambda r, w: handle(r, w, stop, watched), "127.0.0.1", 0)
    for _ in range(3_000):
        watched.put_nowait(await asyncio.open_connection(*server.sockets[0].getsockname()))
        await asyncio.sleep(0.05)


asyncio.run(main())
