# expect: PIPE_DEADLOCK
# names: convert|job, python|python3|python3.11
import asyncio
import sys


async def convert():
    p = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print('x'*1000000)", stdout=asyncio.subprocess.PIPE
    )
    await p.wait()  # here
    return await p.stdout.read()


async def beat():
    while True:
        await asyncio.sleep(0.1)


async def main():
    await asyncio.gather(asyncio.create_task(convert(), name="job"), beat())


asyncio.run(main())
