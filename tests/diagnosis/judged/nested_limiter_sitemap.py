# expect: NESTED_LIMITER
# names: visit
# line: 18|46|54
# when: hang
# A recursive crawler keeps its slot while it waits for the pages below, which need slots, too:
# fine on small sites, stuck on those that are deep enough.
import asyncio


class Politeness:
    """At most so many requests at once, and a count of them."""

    def __init__(self, at_once):
        self._slots = asyncio.Semaphore(at_once)
        self.requests = 0

    async def __aenter__(self):
        await self._slots.acquire()
        self.requests += 1

    async def __aexit__(self, *exc_info):
        self._slots.release()


class Site:
    def __init__(self, width, depth):
        self.width, self.depth = width, depth

    async def get(self, path):
        await asyncio.sleep(0.005)
        if path.count("/") > self.depth:
            return []
        return [f"{path}/{n}" for n in range(self.width)]


class Crawler:
    def __init__(self, site, politeness):
        self.site = site
        self.politeness = politeness
        self.seen = set()

    async def visit(self, path):
        if path in self.seen:
            return 0
        self.seen.add(path)
        async with self.politeness:
            links = await self.site.get(path)
            return 1 + await self.follow(links)

    async def follow(self, links):
        below = [asyncio.ensure_future(self.visit(link)) for link in links]
        if not below:
            return 0
        done, _ = await asyncio.wait(below)
        return sum(task.result() for task in done)


async def crawl_all(sites):
    found = {}
    for name, site in sites.items():
        crawler = Crawler(site, Politeness(6))
        found[name] = await crawler.visit(name)
        print(name, found[name])
    return found


async def main():
    await crawl_all({"small": Site(2, 1), "large": Site(3, 4)})


if __name__ == "__main__":
    asyncio.run(main())
