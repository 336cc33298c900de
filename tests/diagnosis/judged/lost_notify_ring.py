# expect: LOST_NOTIFY
# names: pop|push
# line: 20|28
# when: hang
# One condition for readers and writers, and notify(1) that wakes one of the wrong kind.
import asyncio
from collections import deque


class Ring:
    def __init__(self, size):
        self.size = size
        self.items = deque()
        self.cond = asyncio.Condition()

    async def push(self, item):
        async with self.cond:
            while len(self.items) >= self.size:
                # room
                await self.cond.wait()
            self.items.append(item)
            if len(self.items) == 1:
                self.cond.notify()

    async def pop(self):
        async with self.cond:
            while not self.items:
                await self.cond.wait()
            item = self.items.popleft()
            if len(self.items) == self.size - 1:
                self.cond.notify()
            return item


async def drink(ring, count):
    for _ in range(count):
        await ring.pop()


async def fill(ring, count):
    for n in range(count):
        await ring.push(n)


async def main():
    ring = Ring(2)
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(drink(ring, 10), name=f"drink-{n}")
        for n in range(3):
            group.create_task(fill(ring, 10), name=f"fill-{n}")


asyncio.run(main())
