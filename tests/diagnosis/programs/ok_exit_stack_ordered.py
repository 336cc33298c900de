# expect: OK
# The locks are always taken in the same order.
import asyncio
import contextlib


async def collect(locks):
    while True:
        async with contextlib.AsyncExitStack() as stack:
            for lock in locks:
                await stack.enter_async_context(lock)
                await asyncio.sleep(0.02)


async def main():
    left, right = asyncio.Lock(), asyncio.Lock()
    async with asyncio.TaskGroup() as group:
        group.create_task(collect([left, right]), name="alpha")
        group.create_task(collect([left, right]), name="beta")


if __name__ == "__main__":
    asyncio.run(main())
