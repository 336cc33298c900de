# expect: LOCK_CYCLE
# names: alpha, beta
# Two jobs collect locks on exit stacks in opposite order.
import asyncio
import contextlib


async def collect(locks):
    async with contextlib.AsyncExitStack() as stack:
        for lock in locks:
            await stack.enter_async_context(lock)
            await asyncio.sleep(0.02)


async def main():
    left, right = asyncio.Lock(), asyncio.Lock()
    async with asyncio.TaskGroup() as group:
        group.create_task(collect([left, right]), name="alpha")
        group.create_task(collect([right, left]), name="beta")


if __name__ == "__main__":
    asyncio.run(main())
