# expect: LOCK_ABANDONED
# names: lock, red-2|blue-2
# line: 16
# Two locks were kept by who has ended; who waits for them could release either, but has not come to take any yet.
import asyncio
import collections


class Pens:
    def __init__(self):
        self._locks = collections.defaultdict(asyncio.Lock)
        self.drawn = []

    async def draw(self, colour, width):
        lock = self._locks[colour]
        await lock.acquire()
        if not width:
            return
        await asyncio.sleep(0)
        self.drawn.append(colour)
        lock.release()


async def main():
    pens = Pens()
    async with asyncio.TaskGroup() as group:
        for width in range(3):
            for colour in ("red", "blue"):
                group.create_task(pens.draw(colour, width), name=f"{colour}-{width}")


if __name__ == "__main__":
    asyncio.run(main())
