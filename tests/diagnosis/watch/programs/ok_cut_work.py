# expect: OK
# names: -
import asyncio


def is_prime(n):
    return n > 1 and all(n % k for k in range(2, int(n**0.5) + 1))


async def primes(limit):
    n, count = 2, 0
    while n < limit:
        count += is_prime(n)
        n += 1
        await asyncio.sleep(0)
    return count


async def total(items):
    t = 0
    for i in items:
        t += i
        await asyncio.sleep(0)
    return t


async def drain(work):
    while work:
        work.pop()
        await asyncio.sleep(0)


class Parser:
    def __init__(self, text):
        self.text, self.pos = text, 0

    def finished(self):
        return self.pos >= len(self.text)

    async def run(self):
        while not self.finished():
            self.pos += 1
            await asyncio.sleep(0)


async def main():
    await asyncio.gather(primes(10**8), total(range(10**8)), drain([0] * 10**7), Parser("x" * 10**8).run())


asyncio.run(main())
