# expect: OK
# names: -
# line: -
# when: hang
# All permits are taken and who took them has ended; the peers give them back by a command. The function that does so
# takes one first only for peers that have none.
import asyncio


class Gate:
    def __init__(self):
        self.permits = asyncio.Semaphore(2)
        self.inside = set()

    async def enter(self, name):
        await self.permits.acquire()
        self.inside.add(name)

    async def leave(self, name):
        if name not in self.inside:
            await self.permits.acquire()
        self.inside.discard(name)
        self.permits.release()

    async def session(self, reader, writer):
        while line := await reader.readline():
            await self.leave(line.decode().strip())
        writer.close()


async def main():
    gate = Gate()
    server = await asyncio.start_server(gate.session, "127.0.0.1", 0)
    async with server, asyncio.TaskGroup() as group:
        for n in range(5):
            group.create_task(gate.enter(f"visitor {n}"), name=f"enter-{n}")
        group.create_task(server.serve_forever(), name="server")


if __name__ == "__main__":
    asyncio.run(main())
