# expect: OK
# names: -
# line: -
# when: hang
# The task that keeps the program going is held by nobody but its timer.
import asyncio
import gc


async def tick():
    while True:
        await asyncio.sleep(0.2)
        gc.collect()


async def main():
    asyncio.create_task(tick())
    await asyncio.Event().wait()


asyncio.run(main())
