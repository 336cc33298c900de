# expect: PIPE_DEADLOCK
# names: job|run_tool|tool
import asyncio
import subprocess


async def tool():
    p = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    p.stdin.write(b"x" * 1_000_000)
    p.stdin.close()  # here
    return p.stdout.read()


async def beat():
    while True:
        await asyncio.sleep(0.1)


async def main():
    await asyncio.gather(asyncio.create_task(tool(), name="job"), beat())


asyncio.run(main())
