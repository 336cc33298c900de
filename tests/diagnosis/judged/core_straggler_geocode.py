# expect: STRAGGLER
# names: 61
# line: 36|41|50
# when: slow
# 89 of 90 addresses are found, each within fifty milliseconds; the server accepted the request for
# number 61 and trickles its answer.
import asyncio

from spanloom import run_jobs


class Geocoder:
    """A server that is slow with one of the addresses."""

    async def start(self):
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.address = self.server.sockets[0].getsockname()

    async def answer(self, reader, writer):
        number = int(await reader.readline())
        for byte in f"{number} 52.5 13.4\n".encode():
            await asyncio.sleep(8 if number == 61 else 0.003)
            writer.write(bytes([byte]))
        await writer.drain()
        writer.close()


class Client:
    def __init__(self, address):
        self.address = address

    async def _ask(self, line):
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(line)
            return await reader.readline()
        finally:
            writer.close()

    async def locate(self, number):
        answer = await self._ask(b"%d\n" % number)
        _, latitude, longitude = answer.split()
        return float(latitude), float(longitude)


async def main():
    geocoder = Geocoder()
    await geocoder.start()
    client = Client(geocoder.address)
    places = await run_jobs([client.locate(n) for n in range(90)], workers=12, desc="geocode")
    print(len(places), "places")


if __name__ == "__main__":
    asyncio.run(main())
