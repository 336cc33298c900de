# expect: OK
# names: -
# line: -
# when: hang
# Workers pause after an error and put the item back in a finally; others wait for work.
import asyncio


async def work(queue):
    while True:
        item = await queue.get()
        done = False
        try:
            await asyncio.sleep(0.01)
            raise OSError
        except OSError:
            await asyncio.sleep(5)
        finally:
            if not done:
                queue.put_nowait(item)


async def main():
    queue = asyncio.Queue()
    queue.put_nowait("a")
    queue.put_nowait("b")
    async with asyncio.TaskGroup() as group:
        for n in range(4):
            group.create_task(work(queue), name=f"work-{n}")


asyncio.run(main())
