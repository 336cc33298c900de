# expect: ORPHAN_FUTURE
# names: page-1|page-2|page-3|render|lookup
# line: 19|39|46
# when: hang
# The first who asks for a key looks it up for all; it ran into its deadline, and the clean-up took
# the shared future out of the table without telling those who wait for it.
import asyncio


class SingleFlight:
    """Several callers, one call."""

    def __init__(self, load):
        self._load = load
        self._flights = {}

    async def lookup(self, key):
        if key in self._flights:
            return await self._flights[key]
        landing = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            value = await self._load(key)
            landing.set_result(value)
        finally:
            del self._flights[key]
        return value


class Catalogue:
    def __init__(self):
        self.flights = SingleFlight(self._query)

    async def _query(self, key):
        await asyncio.sleep(0.02 if key != "slow-shop" else 30)
        return {"shop": key}

    async def describe(self, key, deadline):
        if deadline is None:
            return await self.flights.lookup(key)
        async with asyncio.timeout(deadline):
            return await self.flights.lookup(key)


async def render(catalogue, number, deadline):
    await asyncio.sleep(0.01 * number)
    parts = [await catalogue.describe(key, deadline) for key in ("books", "slow-shop", "toys")]
    return f"page {number}: {parts}"


async def clock():
    while True:
        await asyncio.sleep(0.25)


async def main():
    catalogue = Catalogue()
    ticking = asyncio.create_task(clock(), name="clock")
    pages = [
        asyncio.create_task(render(catalogue, n, 0.3 if n == 0 else None), name=f"page-{n}") for n in range(4)
    ]
    results = await asyncio.gather(*pages, return_exceptions=True)
    print(results)
    ticking.cancel()


if __name__ == "__main__":
    asyncio.run(main())
