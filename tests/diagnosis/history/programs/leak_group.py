# expect: TASK_LEAK
# names: listen
# line: 10|23
# when: end
# A task group collects listeners that never end, next to short-lived jobs that do.
import asyncio


async def listen(queue):
    return await queue.get()


async def job(n):
    await asyncio.sleep(0.02)
    return n


async def main():
    queue = asyncio.Queue()
    asyncio.get_running_loop().call_later(3_600, queue.put_nowait, 1)
    async with asyncio.TaskGroup() as group:
        for n in range(2_000):
            group.create_task(listen(queue))
            group.create_task(job(n))
            await asyncio.sleep(0.03)


asyncio.run(main())
