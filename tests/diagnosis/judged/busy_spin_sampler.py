# expect: BUSY_SPIN
# names: sampler|sample
# line: 19
# when: hang
# wait_for with a timeout of nought returns at once, so the sampler of the second loop asks for the
# next value as fast as the processor allows.
import asyncio
import threading


class Gauge:
    def __init__(self):
        self.values = asyncio.Queue()
        self.seen = []

    async def sample(self):
        while True:
            try:
                self.seen.append(await asyncio.wait_for(self.values.get(), timeout=0))
            except TimeoutError:
                continue

    async def run(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sample(), name="sampler")
            self.values.put_nowait(1)


async def main():
    thread = threading.Thread(target=lambda: asyncio.run(Gauge().run()), daemon=True)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
