# expect: OK
# The children are stuck, but who waits for them has a deadline.
import asyncio


async def work(first, second):
    async with first:
        await asyncio.sleep(0.01)
        async with second:
            pass


async def main():
    one, two = asyncio.Lock(), asyncio.Lock()
    try:
        async with asyncio.timeout(20):
            async with asyncio.TaskGroup() as group:
                group.create_task(work(one, two))
                group.create_task(work(two, one))
    except TimeoutError:
        pass


if __name__ == "__main__":
    asyncio.run(main())
