# expect: STRAGGLER
# names: convert-41
# line: 21
# when: slow
# Four converters at a time, beside a reporter in the same group; one of them waits for a process that hangs.
import asyncio
import sys

HANGS = "import os, time\nparent = os.getppid()\nwhile os.getppid() == parent: time.sleep(0.2)"


async def convert(slots, n):
    async with slots:
        if n != 41:
            await asyncio.sleep(0.12)
            return
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HANGS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await child.communicate()
        finally:
            child.kill()


async def report(left):
    while True:
        await asyncio.sleep(0.3)


async def main():
    slots = asyncio.Semaphore(4)
    async with asyncio.TaskGroup() as group:
        group.create_task(report(slots))
        for n in range(44):
            group.create_task(convert(slots, n), name=f"convert-{n}")


asyncio.run(main())
