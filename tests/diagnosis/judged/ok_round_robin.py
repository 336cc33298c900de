# expect: OK
# names: -
# line: -
# when: end
# A scheduler of its own gives each of three generators a step in turn, and lets the loop go on between; each searches
# for primes and gets on.
import asyncio
import time


class Search:
    def __init__(self, first):
        self.n = first
        self.found = []

    def steps(self):
        while True:
            self.n += 2
            if all(self.n % d for d in range(3, int(self.n**0.5) + 1, 2)):
                self.found.append(self.n)
            yield


class RoundRobin:
    def __init__(self, searches):
        self.searches = searches

    async def run(self, seconds):
        end = time.monotonic() + seconds
        steps = [search.steps() for search in self.searches]
        while time.monotonic() < end:
            for one in steps:
                next(one)
                await asyncio.sleep(0)


async def main():
    searches = [Search(first) for first in (10_001, 200_001, 3_000_001)]
    await RoundRobin(searches).run(15)
    print(sum(len(search.found) for search in searches))


if __name__ == "__main__":
    asyncio.run(main())
