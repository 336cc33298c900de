# expect: BARRIER_SHORT
# names: phase
# Three workers, a barrier for four, and a monitor that only looks.
import asyncio


async def worker(phase):
    async with phase:
        pass


async def monitor():
    while True:
        await asyncio.sleep(0.01)


async def main():
    phase = asyncio.Barrier(4)
    looking = asyncio.create_task(monitor())
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(worker(phase), name=f"worker-{n}")
    looking.cancel()


if __name__ == "__main__":
    asyncio.run(main())
