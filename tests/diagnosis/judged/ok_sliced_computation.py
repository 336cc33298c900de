# expect: OK
# names: -
# line: -
# when: end
# A long computation in slices of a few milliseconds with sleep(0) between them: always ready to run,
# busy all the time, and getting ahead.
import asyncio


class Sieve:
    def __init__(self, limit):
        self.limit = limit
        self.flags = bytearray([1]) * (limit + 1)
        self.found = []

    def _strike(self, prime):
        for multiple in range(prime * prime, self.limit + 1, prime):
            self.flags[multiple] = 0

    async def run(self):
        for candidate in range(2, self.limit + 1):
            if self.flags[candidate]:
                self.found.append(candidate)
                if candidate * candidate <= self.limit:
                    self._strike(candidate)
            if candidate % 2_000 == 0:
                await asyncio.sleep(0)
        return self.found


async def many(rounds):
    total = 0
    for number in range(rounds):
        primes = await Sieve(60_000 + number).run()
        total += len(primes)
    return total


async def clock(ticks):
    while True:
        await asyncio.sleep(0.1)
        ticks.append(1)


async def main():
    ticks = []
    ticking = asyncio.create_task(clock(ticks), name="clock")
    print(await asyncio.create_task(many(3_000), name="sieve"), "primes")
    ticking.cancel()


if __name__ == "__main__":
    asyncio.run(main())
