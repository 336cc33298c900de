# expect: BUSY_SPIN
# names: drain_loop|drainer
# line: 18|20
# when: hang
# A loop polls its queue with a timeout of zero and goes on at once.
import asyncio


class Drainer:
    def __init__(self):
        self.queue = asyncio.Queue()
        self.stopping = False

    async def drain_loop(self):
        while not self.stopping:
            try:
                async with asyncio.timeout(0):
                    item = await self.queue.get()
            except TimeoutError:
                continue
            print(item)


async def main():
    drainer = Drainer()
    task = asyncio.create_task(drainer.drain_loop(), name="drainer")
    await asyncio.sleep(30)
    drainer.stopping = True
    await task


asyncio.run(main())
