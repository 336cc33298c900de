# expect: OK
# names: -
# line: -
# when: hang
# A chat server with idle visitors, a queue for each of them, an empty event for the shutdown that
# nobody plans, and a janitor who comes by every minute.
import asyncio


class Chat:
    def __init__(self):
        self.outboxes = {}
        self.shutdown = asyncio.Event()

    async def serve(self, reader, writer):
        name = (await reader.readline()).decode().strip()
        outbox = self.outboxes[name] = asyncio.Queue(maxsize=20)
        sending = asyncio.create_task(self.send(outbox, writer), name=f"send-to-{name}")
        try:
            async for line in reader:
                for other in self.outboxes.values():
                    await other.put(line)
        finally:
            del self.outboxes[name]
            sending.cancel()

    async def send(self, outbox, writer):
        while True:
            writer.write(await outbox.get())
            await writer.drain()

    async def tidy(self):
        while True:
            await asyncio.sleep(60)
            self.outboxes = {name: box for name, box in self.outboxes.items() if not box.full()}


async def visitor(address, name):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"{name}\nhello, I am {name}\n".encode())
    async for _ in reader:
        pass


async def main():
    chat = Chat()
    server = await asyncio.start_server(chat.serve, "127.0.0.1", 0)
    async with server, asyncio.TaskGroup() as group:
        group.create_task(chat.tidy(), name="janitor")
        for name in ("ada", "bob", "cleo"):
            group.create_task(visitor(server.sockets[0].getsockname(), name), name=f"visitor-{name}")
        await chat.shutdown.wait()


if __name__ == "__main__":
    asyncio.run(main())
