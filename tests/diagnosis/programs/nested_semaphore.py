# expect: NESTED_LIMITER
# names: crawl, slots
# A crawler holds its slot while its links need slots as well.
import asyncio


class Crawler:
    def __init__(self):
        self.slots = asyncio.Semaphore(3)

    async def crawl(self, depth):
        async with self.slots:
            await asyncio.sleep(0.005)
            if depth:
                await asyncio.gather(*(self.crawl(depth - 1) for _ in range(3)))


async def main():
    await Crawler().crawl(4)


if __name__ == "__main__":
    asyncio.run(main())
