# expect: QUEUE_NO_PRODUCER
# names: pages, fetch_pages|fetch-0|fetch-1|fetch-2|fetch-3, scan
# line: 28|37
# when: hang
# The scan ends with one `None` for four fetchers: one of them goes home, three wait for the next page for ever.
import asyncio


class Stage:
    def __init__(self, pages):
        self.pages = pages


class Scan(Stage):
    async def scan(self):
        for page in range(20):
            await asyncio.sleep(0.005)
            await self.pages.put(page)
        await self.pages.put(None)


class Fetch(Stage):
    def __init__(self, pages):
        super().__init__(pages)
        self.fetched = []

    async def fetch_pages(self):
        while (page := await self.pages.get()) is not None:
            await asyncio.sleep(0.01)
            self.fetched.append(page)


async def main():
    pages = asyncio.Queue(8)
    fetch = Fetch(pages)
    async with asyncio.TaskGroup() as group:
        group.create_task(Scan(pages).scan(), name="scan")
        for n in range(4):
            group.create_task(fetch.fetch_pages(), name=f"fetch-{n}")
    print(len(fetch.fetched))


if __name__ == "__main__":
    asyncio.run(main())
