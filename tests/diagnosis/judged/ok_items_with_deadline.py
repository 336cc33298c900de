# expect: OK
# names: -
# line: -
# when: end
# Each item is handled within a deadline of its own, which makes a task of each: the loop never rests, and the items
# get fewer.
import asyncio
from collections import deque


class Importer:
    def __init__(self, count):
        self.items = deque(range(count))
        self.total = 0

    async def handle(self, item):
        await asyncio.sleep(0)
        self.total += item % 7

    async def run(self):
        while self.items:
            await asyncio.wait_for(self.handle(self.items.popleft()), 5)


async def main():
    importer = Importer(2_500_000)
    try:
        async with asyncio.timeout(18):
            await asyncio.create_task(importer.run(), name="importer")
    except TimeoutError:
        print(importer.total)


if __name__ == "__main__":
    asyncio.run(main())
