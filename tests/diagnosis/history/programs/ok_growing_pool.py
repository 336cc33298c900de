# expect: OK
# names: -
# line: -
# when: end
# A pool grows to twenty workers in two seconds, and stays there.
import asyncio


async def worker(queue):
    while True:
        await queue.get()
        await asyncio.sleep(0.3)
        queue.task_done()


async def main():
    queue, pool = asyncio.Queue(), []
    for n in range(900):
        queue.put_nowait(n)
        if queue.qsize() > len(pool) and len(pool) < 20:
            pool.append(asyncio.create_task(worker(queue), name=f"worker-{len(pool)}"))
        await asyncio.sleep(0.1 if n < 100 else 0.02)
    await queue.join()
    for task in pool:
        task.cancel()


asyncio.run(main())
