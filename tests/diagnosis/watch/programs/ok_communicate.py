# expect: OK
# names: -
import asyncio
import subprocess
import sys


async def main():
    p = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import time,sys; sys.stdin.read(3); print('x'*1000000, flush=True); time.sleep(20)",
        stdin=-1,
        stdout=-1,
    )

    def other():
        return subprocess.run([sys.executable, "-c", "import time; time.sleep(20)"], capture_output=True)

    async with asyncio.TaskGroup() as g:
        g.create_task(p.communicate(b"abc"))
        g.create_task(asyncio.to_thread(other))
        g.create_task(late())


async def late():
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    try:
        async with asyncio.timeout(15):
            await p.stdout.read()
    except TimeoutError:
        p.kill()
    await p.wait()


asyncio.run(main())
