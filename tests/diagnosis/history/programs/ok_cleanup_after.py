# expect: OK
# names: -
# line: -
# when: end
# The cancel is caught on purpose, and what follows is the cleaning up.
import asyncio


async def flush(n):
    async with asyncio.timeout(5):
        await asyncio.sleep(0.3)


async def writer(queue):
    try:
        while True:
            await queue.get()
    except asyncio.CancelledError:
        print("closing")
    for n in range(30):
        async with asyncio.Lock():
            await flush(n)


async def main():
    task = asyncio.create_task(writer(asyncio.Queue()), name="writer")
    await asyncio.sleep(0.3)
    task.cancel()
    await task


asyncio.run(main())
