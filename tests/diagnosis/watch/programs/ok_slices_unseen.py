# expect: OK
# names: -
import asyncio
import hashlib
import random


class Miner:
    """What it comes nearer to is in an object of C, and it stops by chance."""

    def __init__(self):
        self._hash = hashlib.sha256()
        self._step = bytes(1_000_000)
        self._dice = random.Random(1)

    def found(self):
        return self._dice.random() < 1e-9

    async def mine(self):
        while True:
            for _ in range(4):
                self._hash.update(self._step)
            if self.found():
                return
            await asyncio.sleep(0)


def numbers():
    n = 0
    while True:
        n += 1
        yield n


async def total(limit):
    found = []
    for n in numbers():
        if sum(range(n % 7 + 90_000)) == limit:
            found.append(n)
        await asyncio.sleep(0)
    return found


async def main():
    await asyncio.gather(Miner().mine(), total(-1))


asyncio.run(main())
