# expect: SELF_RELOCK
# names: doors
# line: 22|10
# A lock of a class of its own, which waits in a method of its own: it is called as its owner calls it.
import asyncio


class Door(asyncio.Lock):
    async def open(self):
        await self.acquire()


class House:
    def __init__(self):
        self.doors = [Door()]


async def main():
    house = House()
    door = house.doors[0]
    del door
    async with house.doors[0]:
        await house.doors[0].open()


if __name__ == "__main__":
    asyncio.run(main())
