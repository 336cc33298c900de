# expect: OK
# names: -
# line: -
# when: end
# Each page makes a task for each link and gathers them; three at a time are fetched, so that there are ever more.
import asyncio


class Crawl:
    def __init__(self):
        self.slots = asyncio.Semaphore(3)

    async def fetch(self, depth):
        async with self.slots:
            await asyncio.sleep(0.05)
        return range(3 if depth < 6 else 0)

    async def page(self, depth):
        links = await self.fetch(depth)
        children = [asyncio.create_task(self.page(depth + 1)) for _ in links]
        if children:
            await asyncio.gather(*children)


asyncio.run(Crawl().page(0))
