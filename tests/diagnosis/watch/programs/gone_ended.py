# expect: QUEUE_NO_PRODUCER
# names: scan-1, pages
# Two scans end with one `None` for four readers, and their group forgets them: what was noted at the start is left.
import asyncio


class Scan:
    def __init__(self, pages):
        self.pages = pages

    async def deliver(self, page):
        await self.pages.put(page)

    async def run(self, last):
        for page in range(3):
            await self.deliver(page)
        if last:
            await self.deliver(None)


async def read(pages):
    while await pages.get() is not None:  # here
        pass


async def main():
    pages = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        for n in range(2):
            group.create_task(Scan(pages).run(n), name=f"scan-{n}")
        for n in range(4):
            group.create_task(read(pages), name=f"read-{n}")


if __name__ == "__main__":
    asyncio.run(main())
