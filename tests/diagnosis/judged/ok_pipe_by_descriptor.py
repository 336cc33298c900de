# expect: OK
# names: -
# line: -
# when: end
# A thread reads what the child prints while its warnings fill another pipe; a task knows the other end of that by its
# number alone, and reads it when its pause is over.
import asyncio
import os
import subprocess
import sys

TOOL = "import sys\nfor n in range(9000): print('warning', n, file=sys.stderr)\nprint('done')"


def run_tool(end):
    process = subprocess.Popen([sys.executable, "-c", TOOL], stdout=subprocess.PIPE, stderr=end)
    os.close(end)
    return process.stdout.read()


async def warnings(end):
    await asyncio.sleep(18)
    size = 0
    while text := await asyncio.to_thread(os.read, end, 4096):
        size += len(text)
    return size


async def main():
    ours, theirs = os.pipe()
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(run_tool, theirs), name="tool")
        group.create_task(warnings(ours), name="warnings")


if __name__ == "__main__":
    asyncio.run(main())
