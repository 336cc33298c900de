# expect: OK
# names: -
# line: -
# when: end
# A cancelled worker takes note, and ends when its queue is empty.
import asyncio


async def worker(queue):
    draining = False
    while not (draining and queue.empty()):
        try:
            item = await asyncio.wait_for(queue.get(), 1)
            await asyncio.sleep(item)
        except asyncio.CancelledError:
            draining = True
        except TimeoutError:
            pass


async def main():
    queue = asyncio.Queue()
    for _ in range(80):
        queue.put_nowait(0.1)
    task = asyncio.create_task(worker(queue), name="worker")
    await asyncio.sleep(0.3)
    task.cancel()
    await task


asyncio.run(main())
