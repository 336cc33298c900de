# expect: EVENT_NEVER_SET
# names: use
# An event of anyio.
import asyncio

import anyio


async def prepare(event):
    await anyio.sleep(0.01)
    return event.is_set()


async def use(event):
    await event.wait()


async def main():
    event = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(prepare, event)
        group.start_soon(use, event)


if __name__ == "__main__":
    asyncio.run(main())
