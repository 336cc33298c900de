# expect: CANCEL_SWALLOWED
# names: sync-loop|sync_loop
# line: 11|19
# when: hang
# A helper catches the cancel, and the loop around it goes on.
import asyncio


async def sync_once(errors):
    try:
        await asyncio.sleep(0.2)
    except BaseException as error:
        errors.append(type(error).__name__)


async def sync_loop():
    errors = []
    while True:
        await sync_once(errors)
        await asyncio.sleep(0)


async def main():
    async with asyncio.TaskGroup() as group:
        task = group.create_task(sync_loop(), name="sync-loop")
        await asyncio.sleep(0.3)
        task.cancel()


asyncio.run(main())
