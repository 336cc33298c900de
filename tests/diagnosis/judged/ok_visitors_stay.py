# expect: OK
# names: -
# line: -
# when: hang
# Visitors come, fifteen a second, and stay; each connection has a heartbeat, which is cancelled when the visitor goes.
import asyncio
import socket
import threading
import time


class Visitors(threading.Thread):
    def __init__(self, address):
        super().__init__(daemon=True)
        self.address = address
        self.links = []

    def run(self):
        for _ in range(600):
            self.links.append(socket.create_connection(self.address))
            time.sleep(0.066)


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.beat = None

    async def heartbeat(self):
        while True:
            await asyncio.sleep(20)
            self.writer.write(b"ping\n")

    async def serve(self):
        self.beat = asyncio.create_task(self.heartbeat())
        try:
            while line := await self.reader.readline():
                self.writer.write(line)
        finally:
            self.beat.cancel()


async def welcome(reader, writer):
    await Connection(reader, writer).serve()


async def main():
    server = await asyncio.start_server(welcome, "127.0.0.1", 0)
    Visitors(server.sockets[0].getsockname()).start()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
