# expect: OK
# names: -
# line: -
# when: end
# A recursive crawler that gives its slot back before it waits for the pages below: many wait for
# slots and for each other, and all of it ends.
import asyncio


class Site:
    async def get(self, path):
        await asyncio.sleep(0.35)
        return [f"{path}/{n}" for n in range(4)] if path.count("/") < 6 else []


class Crawler:
    def __init__(self, site, at_once):
        self.site = site
        self.slots = asyncio.Semaphore(at_once)
        self.pages = 0

    async def visit(self, path):
        async with self.slots:
            links = await self.site.get(path)
            self.pages += 1
        if links:
            await asyncio.gather(*(self.visit(link) for link in links))


async def report(crawler):
    while True:
        await asyncio.sleep(1)
        print(crawler.pages, "pages")


async def main():
    crawler = Crawler(Site(), 6)
    reporting = asyncio.create_task(report(crawler), name="report")
    await crawler.visit("https://example.org")
    reporting.cancel()


if __name__ == "__main__":
    asyncio.run(main())
