# expect: OK
# The last party comes after a while.
import asyncio


async def run(barrier, n):
    await asyncio.sleep(n * 5)
    async with barrier:
        pass


async def main():
    barrier = asyncio.Barrier(4)
    async with asyncio.TaskGroup() as group:
        for n in range(4):
            group.create_task(run(barrier, n))


if __name__ == "__main__":
    asyncio.run(main())
