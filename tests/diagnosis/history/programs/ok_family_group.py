# expect: OK
# names: -
# line: -
# when: end
# A folder opens a task group of its own for the folders in it, and they wait for a slot that is free now and then.
import asyncio


async def folder(slots, depth):
    await slots.acquire()
    try:
        await asyncio.sleep(0.06)
    finally:
        slots.release()
    async with asyncio.TaskGroup() as group:
        for _ in range(4 if depth < 5 else 0):
            group.create_task(folder(slots, depth + 1))


async def main():
    await folder(asyncio.Semaphore(2), 0)


asyncio.run(main())
