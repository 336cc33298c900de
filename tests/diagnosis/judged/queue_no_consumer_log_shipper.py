# expect: QUEUE_NO_CONSUMER
# names: shipper-1|shipper-0|ship|shipper
# line: 23|38|53
# when: hang
# Of the two shippers one took the stop mark that was meant for the other service, and one died of a
# record without a level; the bounded backlog is full and all who log wait for room.
import asyncio
import logging

STOP = object()
log = logging.getLogger("shipper")


class Backlog:
    """A bounded channel with a name, and counters for the dashboard."""

    def __init__(self, name, size):
        self.name = name
        self._records = asyncio.Queue(maxsize=size)
        self.accepted = self.shipped = 0

    async def offer(self, record):
        await self._records.put(record)
        self.accepted += 1

    def __aiter__(self):
        return self._drain()

    async def _drain(self):
        while (record := await self._records.get()) is not STOP:
            yield record
            self.shipped += 1


async def ship(backlog, batches):
    batch = []
    async for record in backlog:
        batch.append(f"{record['level']}: {record['text']}")
        if len(batch) == 10:
            await asyncio.sleep(0.01)
            batches.append(batch)
            batch = []
    log.info("shipper ends")


async def application(backlog, name):
    number = 0
    while True:
        await asyncio.sleep(0.004)
        record = {"level": "info", "text": f"{name} did thing {number}"}
        if name == "billing" and number == 60:
            del record["level"]
        await backlog.offer(record)
        number += 1


async def main():
    backlog, batches = Backlog("audit", 50), []
    shippers = [asyncio.create_task(ship(backlog, batches), name=f"shipper-{n}") for n in range(2)]
    async with asyncio.TaskGroup() as group:
        for name in ("billing", "orders", "search"):
            group.create_task(application(backlog, name), name=name)
        await asyncio.sleep(0.1)
        await backlog.offer(STOP)
    await asyncio.gather(*shippers)


if __name__ == "__main__":
    asyncio.run(main())
