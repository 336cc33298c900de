# expect: OK
# names: -
# line: -
# when: end
# The workers were cancelled and do what they have to before they end: they send what they have
# gathered, slowly, and then pass the CancelledError on.
import asyncio


class Collector:
    def __init__(self, number):
        self.number = number
        self.samples = []
        self.sent = 0

    async def _send(self, sample):
        await asyncio.sleep(1.5)
        self.sent += 1

    async def _flush(self):
        while self.samples:
            await self._send(self.samples.pop())

    async def collect(self):
        try:
            while True:
                await asyncio.sleep(0.1)
                self.samples.append(self.number)
        except asyncio.CancelledError:
            await self._flush()
            raise


async def main():
    collectors = [Collector(n) for n in range(4)]
    tasks = [asyncio.create_task(c.collect(), name=f"collector-{c.number}") for c in collectors]
    await asyncio.sleep(1.25)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(sum(c.sent for c in collectors), "samples sent")


if __name__ == "__main__":
    asyncio.run(main())
