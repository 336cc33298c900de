# expect: LOCK_CYCLE
# names: alpha, beta
# A class of its own takes the lock in __aenter__ and gives it back in __aexit__.
import asyncio


class Guard:
    def __init__(self):
        self._inner = asyncio.Lock()

    async def __aenter__(self):
        await self._inner.acquire()
        return self

    async def __aexit__(self, *exc_info):
        self._unlock()

    def _unlock(self):
        self._inner.release()


async def work(first, second):
    async with first:
        await asyncio.sleep(0.02)
        async with second:
            pass


async def main():
    one, two = Guard(), Guard()
    await asyncio.gather(
        asyncio.create_task(work(one, two), name="alpha"), asyncio.create_task(work(two, one), name="beta")
    )


if __name__ == "__main__":
    asyncio.run(main())
