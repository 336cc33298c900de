# expect: OK
# names: -
# line: -
# when: end
# A flaky server refuses a third of the calls; they are tried again after pauses that grow, outside of
# the slots, and the work gets done.
import asyncio
import random


class Unavailable(Exception):
    pass


class Flaky:
    def __init__(self):
        self._random = random.Random(4)
        self.served = 0

    async def call(self, number):
        await asyncio.sleep(0.15)
        if self._random.random() < 0.33:
            raise Unavailable(f"503 for {number}")
        self.served += 1
        return number


class Client:
    def __init__(self, server):
        self.server = server
        self.slots = asyncio.Semaphore(5)
        self.failures = 0

    async def fetch(self, number):
        pause = 0.2
        while True:
            try:
                async with self.slots:
                    return await self.server.call(number)
            except Unavailable:
                self.failures += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, 3.0)


async def main():
    client = Client(Flaky())
    async with asyncio.TaskGroup() as group:
        for number in range(400):
            group.create_task(client.fetch(number), name=f"fetch-{number}")
    print(client.server.served, "served,", client.failures, "failures")


if __name__ == "__main__":
    asyncio.run(main())
