# expect: OK
# names: -
# line: -
# when: end
# Producers take a permit for each item and end, the consumer gives it back when the item is dealt
# with: the holders are dead, and the permits are not lost.
import asyncio
import collections


class Window:
    """At most so many items under way, whoever made them."""

    def __init__(self, size):
        self._free = asyncio.Semaphore(size)
        self._items = collections.deque()
        self._arrived = asyncio.Event()

    async def put(self, item):
        await self._free.acquire()
        self._items.append(item)
        self._arrived.set()

    async def take(self):
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        return self._items.popleft()

    def done(self):
        self._free.release()


async def consume(window, count):
    for _ in range(count):
        await window.take()
        await asyncio.sleep(0.45)
        window.done()


async def main():
    window = Window(4)
    async with asyncio.TaskGroup() as group:
        group.create_task(consume(window, 42), name="consumer")
        for number in range(42):
            group.create_task(window.put(number), name=f"producer-{number}")
    print("all dealt with")


if __name__ == "__main__":
    asyncio.run(main())
