# expect: SLOT_HOG
# names: permits, call_api
# line: 21|30
# when: slow
# Slots are taken by hand and kept through the back-off of a helper.
import asyncio


class Api:
    def __init__(self):
        self.permits = asyncio.BoundedSemaphore(3)
        self.down = True

    async def request(self, n):
        await asyncio.sleep(0.02)
        if self.down:
            raise ConnectionError("503")
        return n

    async def back_off(self, attempt):
        await asyncio.sleep(min(30 * 2**attempt, 120))

    async def call_api(self, n):
        await self.permits.acquire()
        try:
            for attempt in range(5):
                try:
                    return await self.request(n)
                except ConnectionError:
                    await self.back_off(attempt)
        finally:
            self.permits.release()


async def main():
    api = Api()
    await asyncio.gather(*(api.call_api(n) for n in range(20)))


asyncio.run(main())
