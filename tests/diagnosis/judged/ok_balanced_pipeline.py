# expect: OK
# names: -
# line: -
# when: end
# A pipeline whose stages are about equally fast: the queues are bounded and partly full, and items
# pass all the time.
import asyncio


async def source(outbox, items):
    for number in range(items):
        await asyncio.sleep(0.1)
        await outbox.put(number)
    await outbox.put(None)


async def stage(inbox, outbox, seconds):
    while (item := await inbox.get()) is not None:
        await asyncio.sleep(seconds)
        await outbox.put(item + 1)
    await outbox.put(None)


async def sink(inbox, seen):
    while (item := await inbox.get()) is not None:
        await asyncio.sleep(0.08)
        seen.append(item)


async def main():
    first, second, third = (asyncio.Queue(maxsize=8) for _ in range(3))
    seen = []
    async with asyncio.TaskGroup() as group:
        group.create_task(source(first, 190), name="source")
        group.create_task(stage(first, second, 0.09), name="clean")
        group.create_task(stage(second, third, 0.095), name="enrich")
        group.create_task(sink(third, seen), name="sink")
    print(len(seen), "items")


if __name__ == "__main__":
    asyncio.run(main())
