# expect: TASK_LEAK
# names: notify
# line: 11|21
# when: end
# Subscribers are told under a semaphore of whose slots none is ever given back: the first ones listen for good.
import asyncio


async def notify(slots, line):
    async with slots:
        while True:
            await line.get()


async def main():
    slots, line, tasks = asyncio.Semaphore(5), asyncio.Queue(), set()
    asyncio.get_running_loop().call_later(3_600, line.put_nowait, 1)
    for _ in range(6_000):
        task = asyncio.create_task(notify(slots, line))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.02)


asyncio.run(main())
