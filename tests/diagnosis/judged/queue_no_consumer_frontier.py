# expect: QUEUE_NO_CONSUMER
# names: frontier, spider-0|spider-1|spider-2|spider-3|spider-4|crawl
# line: 32|36|42
# when: hang
# The spiders both read the bounded frontier and write into it; once it is full, all of them wait for
# room that only they could make.
import asyncio
import dataclasses


@dataclasses.dataclass(order=True)
class Link:
    depth: int
    url: str


class Web:
    async def links_of(self, url):
        await asyncio.sleep(0.003)
        return [f"{url}/{n}" for n in range(6)]


class Crawl:
    def __init__(self, web, size):
        self.web = web
        self.frontier = asyncio.PriorityQueue(maxsize=size)
        self.visited = set()

    async def remember(self, link):
        if link.url not in self.visited:
            self.visited.add(link.url)
            await self.frontier.put(link)

    async def expand(self, link):
        for url in await self.web.links_of(link.url):
            await self.remember(Link(link.depth + 1, url))

    async def crawl(self):
        while True:
            link = await self.frontier.get()
            try:
                await self.expand(link)
            finally:
                self.frontier.task_done()


async def report(crawl):
    while True:
        await asyncio.sleep(0.5)
        print(len(crawl.visited), "pages")


async def main():
    crawl = Crawl(Web(), size=64)
    await crawl.remember(Link(0, "https://example.org"))
    reporter = asyncio.create_task(report(crawl), name="reporter")
    spiders = [asyncio.create_task(crawl.crawl(), name=f"spider-{n}") for n in range(5)]
    await crawl.frontier.join()
    for task in (*spiders, reporter):
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
