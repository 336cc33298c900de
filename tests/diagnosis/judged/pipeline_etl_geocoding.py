# expect: PIPELINE_BOTTLENECK
# names: geocode
# line: 18|35|44
# when: slow
# Readers, a geocoder in a single thread, and writers: the geocoder is slow, the channel before it is
# full, all before it wait for room and all behind it for work.
import asyncio
import concurrent.futures
import time


class Channel:
    def __init__(self, name, size):
        self.name = name
        self._items = asyncio.Queue(maxsize=size)

    async def send(self, item):
        await self._items.put(item)

    async def __aiter__(self):
        while (item := await self._items.get()) is not None:
            yield item


class Etl:
    def __init__(self):
        self.addresses = Channel("addresses", 10)
        self.places = Channel("places", 10)
        self.thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="geocoder")
        self.written = []

    async def read(self, file, rows):
        for number in range(rows):
            await asyncio.sleep(0.002)
            await self.addresses.send(f"{file}, row {number}")

    def _look_up(self, address):
        time.sleep(0.3)
        return (address, 52.5, 13.4)

    async def geocode(self):
        loop = asyncio.get_running_loop()
        async for address in self.addresses:
            place = await loop.run_in_executor(self.thread, self._look_up, address)
            await self.places.send(place)

    async def write(self):
        async for place in self.places:
            await asyncio.sleep(0.004)
            self.written.append(place)


async def main():
    etl = Etl()
    readers = [asyncio.create_task(etl.read(f"part-{n}", 40), name=f"read-{n}") for n in range(5)]
    geocoder = asyncio.create_task(etl.geocode(), name="geocode")
    writers = [asyncio.create_task(etl.write(), name=f"write-{n}") for n in range(2)]
    await asyncio.gather(*readers)
    await etl.addresses.send(None)
    await geocoder
    for _ in writers:
        await etl.places.send(None)
    await asyncio.gather(*writers)
    print(len(etl.written), "places")


if __name__ == "__main__":
    asyncio.run(main())
