# expect: LOCK_CYCLE
# names: east-west, west-east
# line: 15|29
# Signals are taken and given back by methods of their own; no stack shows who has one.
import asyncio


class Signal:
    def __init__(self):
        self._lock = asyncio.Lock()
        self.train = None

    async def take(self, train):
        await asyncio.sleep(0)
        await self._lock.acquire()
        self.train = train

    def give_back(self):
        self.train = None
        self._lock.release()


async def drive(train, first, second):
    await second.take(train)
    second.give_back()
    await first.take(train)
    try:
        await asyncio.sleep(0.05)
        await second.take(train)
        second.give_back()
    finally:
        first.give_back()


async def main():
    east, west = Signal(), Signal()
    await asyncio.gather(
        asyncio.create_task(drive("a", east, west), name="east-west"),
        asyncio.create_task(drive("b", west, east), name="west-east"),
    )


if __name__ == "__main__":
    asyncio.run(main())
