# expect: OK
# names: -
# line: -
# when: end
# Exceptions are this program's way of asking; nearly all calls succeed in the end.
import asyncio


class Cache:
    def __init__(self):
        self.values = {}

    async def get(self, key):
        await asyncio.sleep(0)
        return self.values[key]

    async def load(self, key):
        try:
            return await self.get(key)
        except KeyError:
            await asyncio.sleep(0.002)
            self.values[key] = key * 2
            return self.values[key]


async def main():
    cache = Cache()
    for n in range(6_000):
        await cache.load(n % 700)
        await asyncio.sleep(0.001)


asyncio.run(main())
