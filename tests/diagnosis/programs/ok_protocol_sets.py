# expect: OK
# A protocol of the program's own sets an event when its peer says something: nobody else knows it.
import asyncio


class Pinged(asyncio.Protocol):
    def connection_made(self, transport):
        self.said = asyncio.Event()

    def data_received(self, data):
        self.said.set()


async def silent(reader, writer):
    await reader.read()


async def main():
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    _, pinged = await asyncio.get_running_loop().create_connection(Pinged, *address)
    await asyncio.gather(pinged.said.wait(), asyncio.create_task(pinged.said.wait(), name="other"))


if __name__ == "__main__":
    asyncio.run(main())
