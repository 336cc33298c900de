# expect: PERMIT_LEAK
# names: permits
# Cancelled jobs never give back; a wrapper class takes the permits.
import asyncio


class Throttle:
    def __init__(self, n):
        self.permits = asyncio.Semaphore(n)

    async def enter(self):
        await self.permits.acquire()

    def leave(self):
        self.permits.release()


async def call(throttle, seconds):
    await throttle.enter()
    await asyncio.sleep(seconds)
    throttle.leave()


async def guarded(throttle, n):
    try:
        await asyncio.wait_for(call(throttle, 5 if n < 2 else 0), 0.02)
    except TimeoutError:
        pass
    await call(throttle, 0)


async def main():
    throttle = Throttle(2)
    await asyncio.gather(*(asyncio.create_task(guarded(throttle, n), name=f"call-{n}") for n in range(4)))


if __name__ == "__main__":
    asyncio.run(main())
