# expect: PIPE_DEADLOCK
# names: job|run_tool, wait
import asyncio
import subprocess
import sys


def tool():
    p = subprocess.Popen([sys.executable, "-c", "print('x'*1000000)"], stdout=subprocess.PIPE)
    p.wait()  # here
    return p.stdout.read()


async def run_tool():
    await asyncio.to_thread(tool)


async def main():
    await asyncio.create_task(run_tool(), name="job")


asyncio.run(main())
