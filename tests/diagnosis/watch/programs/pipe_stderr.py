# expect: PIPE_DEADLOCK
# names: collect
import asyncio
import sys


async def collect(p):
    lines = []
    async for line in p.stdout:  # here
        lines.append(line)
    return lines, await p.stderr.read()


async def main():
    p = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; print(1); sys.stderr.write('e'*1000000); print(2)",
        stdout=-1,
        stderr=-1,
    )
    await collect(p)


asyncio.run(main())
