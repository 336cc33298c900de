# expect: LOCK_CYCLE
# names: work
# Locks of anyio in opposite order.
import asyncio

import anyio


async def work(first, second):
    async with first:
        await anyio.sleep(0.01)
        async with second:
            pass


async def main():
    one, two = anyio.Lock(), anyio.Lock()
    async with anyio.create_task_group() as group:
        group.start_soon(work, one, two)
        group.start_soon(work, two, one)


if __name__ == "__main__":
    asyncio.run(main())
