# expect: OK
# names: -
# line: -
# when: end
# The exception is asked for by a callback that looks at it, and another one after ten seconds.
import asyncio

errors = []


async def fail(n):
    await asyncio.sleep(0.05)
    raise ValueError(n)


def note(task):
    if not task.cancelled() and task.exception() is not None:
        errors.append(task.exception())


async def main():
    for n in range(5):
        asyncio.create_task(fail(n)).add_done_callback(note)
    kept = asyncio.create_task(fail(99), name="kept")
    await asyncio.sleep(10)
    try:
        await kept
    except ValueError:
        print(len(errors))
    await asyncio.sleep(5)


asyncio.run(main())
