# expect: STRAGGLER
# names: page-7
# line: 12
# when: slow
# One of twenty pages in a task group takes minutes.
import asyncio


async def render(n):
    await asyncio.sleep(0.02)
    if n == 7:
        await asyncio.sleep(300)


async def main():
    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(render(n), name=f"page-{n}")


asyncio.run(main())
