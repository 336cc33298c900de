# expect: NESTED_LIMITER
# names: parse
# A capacity limiter of anyio.
import asyncio

import anyio


async def parse(limiter, depth):
    async with limiter:
        await anyio.sleep(0.01)
        if depth:
            async with anyio.create_task_group() as group:
                group.start_soon(parse, limiter, depth - 1)


async def main():
    limiter = anyio.CapacityLimiter(2)
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(parse, limiter, 2)


if __name__ == "__main__":
    asyncio.run(main())
