# expect: CANCEL_SWALLOWED
# names: consumer
# line: 13|15
# when: hang
# contextlib.suppress is given the CancelledError by mistake.
import asyncio
import contextlib


async def consumer(queue):
    while True:
        with contextlib.suppress(asyncio.CancelledError, ValueError):
            item = await asyncio.wait_for(queue.get(), 1.5)
            print(item)
        await asyncio.sleep(0.05)


async def feed(queue):
    while True:
        await asyncio.sleep(0.7)
        queue.put_nowait("item")


async def main():
    queue = asyncio.Queue()
    feeder = asyncio.create_task(feed(queue), name="feeder")
    task = asyncio.create_task(consumer(queue), name="consumer")
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    feeder.cancel()


asyncio.run(main())
