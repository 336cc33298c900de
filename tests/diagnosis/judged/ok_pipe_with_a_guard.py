# expect: OK
# names: -
# line: -
# when: hang
# The parent reads the wrong one of two pipes, but a guard in the same group ends that after a while.
import asyncio
import sys

CHILD = """
import sys
for n in range(9000):
    print("file", n)
    print("warning: file", n, "has no date", file=sys.stderr)
"""


async def unpack(archive):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CHILD,
        archive,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1024,
    )
    files = []
    async for line in process.stdout:
        files.append(line)
    warnings = await process.stderr.read()
    return len(files), len(warnings), await process.wait()


async def guard():
    await asyncio.sleep(20)
    raise TimeoutError("unpacking takes too long")


async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(unpack("a.zip"), name="unpack-a")
        group.create_task(guard(), name="guard")


asyncio.run(main())
