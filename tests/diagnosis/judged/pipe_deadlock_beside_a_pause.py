# expect: PIPE_DEADLOCK
# names: unpack
# line: 29
# when: hang
# The parent reads the child's output to its end, while the child is stuck writing warnings to the
# other pipe, which nobody reads yet.
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


async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(unpack("a.zip"), name="unpack-a")
        group.create_task(asyncio.sleep(5), name="pause")


asyncio.run(main())
