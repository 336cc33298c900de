# expect: QUEUE_NO_CONSUMER
# names: sensor-slow|measure, archiver|archive
# line: 18|37
# when: hang
# Two sensors share a channel; the quick one closes it when it is done, the archiver goes home, and
# the slow one waits for room in a channel that nobody reads.
import asyncio
import sys

CLOSED = object()


class Channel:
    def __init__(self, size):
        self._items = asyncio.Queue(size)

    async def send(self, item):
        await self._items.put(item)

    async def close(self):
        await self._items.put(CLOSED)

    async def __aiter__(self):
        while (item := await self._items.get()) is not CLOSED:
            yield item


class Sensor:
    def __init__(self, name, pause, count):
        self.name = name
        self.pause = pause
        self.count = count

    async def measure(self, channel):
        for n in range(self.count):
            await asyncio.sleep(self.pause)
            await channel.send((self.name, n))
        await channel.close()


async def archive(channel, path):
    archived = []
    async for sensor, value in channel:
        archived.append(f"{path}: {sensor} {value}")
    return len(archived)


async def display():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import sys; sys.stdin.read()", stdin=asyncio.subprocess.PIPE
    )
    while True:
        process.stdin.write(b"still measuring\n")
        await process.stdin.drain()
        await asyncio.sleep(0.25)


async def main():
    channel = Channel(8)
    screen = asyncio.create_task(display(), name="display")
    async with asyncio.TaskGroup() as group:
        group.create_task(archive(channel, "/var/log"), name="archiver")
        for name, pause, count in (("quick", 0.005, 40), ("slow", 0.02, 400)):
            sensor = Sensor(name, pause, count)
            group.create_task(sensor.measure(channel), name=f"sensor-{name}")
    screen.cancel()


if __name__ == "__main__":
    asyncio.run(main())
