# expect: QUEUE_NO_CONSUMER
# names: outbox, shipper|ship
# line: 35
# when: hang
# Two sources share one queue; the sentinel of the one that was done first sent the shipper home, and
# the other one waits for room for ever.
import asyncio

DONE = object()


class Shipper:
    def __init__(self, outbox):
        self._outbox = outbox
        self.shipped = 0

    async def _send(self, line):
        await asyncio.sleep(0.002)
        self.shipped += len(line)

    async def ship(self):
        while (line := await self._outbox.get()) is not DONE:
            await self._send(line)
        return self.shipped


async def tail(name, lines):
    for n in range(lines):
        await asyncio.sleep(0.003)
        yield f"{name}: line {n}\n"


async def pump(lines, outbox):
    async for line in lines:
        await outbox.put(line)
    await outbox.put(DONE)


async def clock():
    ticks = 0
    while True:
        await asyncio.sleep(0.1)
        ticks += 1


async def main():
    outbox = asyncio.Queue(maxsize=8)
    ticking = asyncio.create_task(clock(), name="clock")
    shipper = asyncio.create_task(Shipper(outbox).ship(), name="shipper")
    pumps = [
        asyncio.create_task(pump(tail("access.log", 3000), outbox), name="pump-access"),
        asyncio.create_task(pump(tail("error.log", 40), outbox), name="pump-error"),
    ]
    await asyncio.gather(*pumps, shipper)
    ticking.cancel()


if __name__ == "__main__":
    asyncio.run(main())
