# expect: PERMIT_LEAK
# names: _permits, handle
# line: 16|35
# when: hang
# A connection whose peer says nothing returns early without giving its permit back; soon no permit
# is left for who has something to say.
import asyncio


class Server:
    def __init__(self):
        self._permits = asyncio.Semaphore(3)
        self.greeted = 0

    async def handle(self, reader, writer):
        await self._permits.acquire()
        line = await reader.readline()
        if not line:
            writer.close()
            return
        writer.write(b"hello " + line)
        await writer.drain()
        writer.close()
        self.greeted += 1
        self._permits.release()


async def visit(address, n):
    await asyncio.sleep(n * 0.02)
    reader, writer = await asyncio.open_connection(*address)
    if n % 3 == 0:
        writer.close()
        return None
    writer.write(b"visitor\n")
    return await reader.read()


async def main():
    server = Server()
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening:
        address = listening.sockets[0].getsockname()
        visits = [asyncio.create_task(visit(address, n), name=f"visit-{n}") for n in range(20)]
        await asyncio.gather(*visits)
    print(server.greeted)


if __name__ == "__main__":
    asyncio.run(main())
