# expect: NESTED_LIMITER
# names: transfer
# A pool of connections whose users need two at once.
import asyncio
import contextlib


class Pool:
    def __init__(self, size):
        self._free = asyncio.BoundedSemaphore(size)

    @contextlib.asynccontextmanager
    async def connection(self):
        await self._free.acquire()
        try:
            yield object()
        finally:
            self._free.release()


async def transfer(pool):
    async with pool.connection():
        await asyncio.sleep(0.01)
        async with pool.connection():
            pass


async def keepalive():
    while True:
        await asyncio.sleep(0.02)


async def main():
    pool = Pool(4)
    alive = asyncio.create_task(keepalive())
    async with asyncio.TaskGroup() as group:
        for n in range(8):
            group.create_task(transfer(pool), name=f"transfer-{n}")
    alive.cancel()


if __name__ == "__main__":
    asyncio.run(main())
