# expect: OK
# Four writers, and two who read for them: a queue that is full is what a bound is for.
import asyncio


async def write(lines):
    while True:
        await lines.put("line")


async def store(lines):
    while await lines.get():
        await asyncio.sleep(0.8)


async def main():
    lines = asyncio.Queue(3)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(store(lines))
        for _ in range(4):
            group.create_task(write(lines))


if __name__ == "__main__":
    asyncio.run(main())
