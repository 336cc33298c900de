# expect: LOST_NOTIFY
# names: changed|_changed
# line: 23|34
# when: hang
# One condition for two kinds of waiters, and notify() for one of them: the last notify woke a loader
# who could not use it, and the driver who could sleeps on, next to what he waits for.
import asyncio


class Warehouse:
    def __init__(self):
        self._changed = asyncio.Condition()
        self.pallets = {"bricks": 0, "tiles": 0}

    async def unload(self, goods, count):
        async with self._changed:
            self.pallets[goods] += count
            self._changed.notify()

    async def take(self, goods):
        async with self._changed:
            while not self.pallets[goods]:
                await self._changed.wait()
            self.pallets[goods] -= 1


class Lorry:
    def __init__(self, goods, size):
        self.goods, self.size = goods, size
        self.loaded = 0

    async def load(self, warehouse):
        while self.loaded < self.size:
            await warehouse.take(self.goods)
            self.loaded += 1
            await asyncio.sleep(0.005)


async def deliveries(warehouse):
    await asyncio.sleep(0.05)
    await warehouse.unload("tiles", 1)
    await asyncio.sleep(0.05)
    await warehouse.unload("bricks", 3)


async def main():
    warehouse = Warehouse()
    bricks = [asyncio.create_task(Lorry("bricks", 2).load(warehouse), name="brick-lorry")]
    await asyncio.sleep(0.01)
    tiles = asyncio.create_task(Lorry("tiles", 1).load(warehouse), name="tile-lorry")
    await asyncio.gather(tiles, *bricks, deliveries(warehouse))
    print(warehouse.pallets)


if __name__ == "__main__":
    asyncio.run(main())
