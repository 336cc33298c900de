# expect: EVENT_NEVER_SET
# names: reader, ready
# line: 9
# Main would set the event after it has waited for all tasks, one of which waits for the event; another lives on.
import asyncio


async def read(ready):
    await ready.wait()


async def beat():
    while True:
        await asyncio.sleep(0.1)


async def main():
    ready = asyncio.Event()
    tasks = [asyncio.create_task(read(ready), name="reader"), asyncio.create_task(beat())]
    await asyncio.wait(tasks)
    ready.set()
