# expect: SLOT_HOG
# names: fetch|_fetch
# line: 23|16
# when: hang
# Calls in a slot of a client's limiter are retried by stamina, which waits for twenty seconds in the slot.
import asyncio

import stamina


class Client:
    def __init__(self):
        self._slots = asyncio.Semaphore(2)
        self.done = 0

    @stamina.retry(on=ConnectionError, wait_initial=20.0, wait_max=30.0, wait_jitter=0.0, timeout=None)
    async def _fetch(self, number):
        await asyncio.sleep(0.02)
        raise ConnectionError(f"refused {number}")

    async def fetch(self, number):
        async with self._slots:
            return await self._fetch(number)


async def main():
    client = Client()
    await asyncio.gather(*(client.fetch(n) for n in range(9)), return_exceptions=True)


asyncio.run(main())
