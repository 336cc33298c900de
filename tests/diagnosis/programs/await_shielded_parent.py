# expect: AWAIT_CYCLE
# names: parent, child
# line: 10|15
# A parent gathers its child, which waits for the parent behind a shield.
import asyncio


async def total(tasks):
    await asyncio.sleep(0.01)
    return sum(await asyncio.gather(tasks["child"]))


async def share(tasks):
    await asyncio.sleep(0.01)
    return 1 / await asyncio.shield(tasks["parent"])


async def main():
    tasks = {}
    tasks["child"] = asyncio.create_task(share(tasks), name="child")
    tasks["parent"] = asyncio.create_task(total(tasks), name="parent")
    await tasks["parent"]
