# expect: OK
# names: -
# line: -
# when: hang
# A worker puts an item that has failed back after a pause, and the others wait for work: there are no slots.
import asyncio


async def deliver(item):
    await asyncio.sleep(0.01)
    raise TimeoutError(item)


async def work(todo):
    while True:
        item = await todo.get()
        try:
            await deliver(item)
        except TimeoutError:
            await asyncio.sleep(30)
            todo.put_nowait(item)


async def main():
    todo = asyncio.Queue()
    todo.put_nowait("letter")
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(work(todo), name=f"work-{number}")


asyncio.run(main())
