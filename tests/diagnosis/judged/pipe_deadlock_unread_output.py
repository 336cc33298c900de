# expect: PIPE_DEADLOCK
# names: build-docs|run_tool|build, stdout
# line: 26|34
# when: hang
# The output of the tool goes to a pipe that is only read when the tool has ended, and the tool cannot
# end before its output is read: there is too much of it for the pipe.
import asyncio
import sys

TOOL = """
import sys
for number in range(40_000):
    print("warning: page", number, "is not in any table of contents")
"""


class ToolFailed(Exception):
    pass


class Builder:
    def __init__(self):
        self.reports = {}

    async def _exit_code(self, process):
        return await process.wait()

    async def run_tool(self, name, program):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        code = await self._exit_code(process)
        output = await process.stdout.read()
        if code:
            raise ToolFailed(name)
        self.reports[name] = output.decode().splitlines()

    async def build(self, tools):
        async with asyncio.TaskGroup() as group:
            for name, program in tools.items():
                group.create_task(self.run_tool(name, program), name=f"build-{name}")


async def watch_sources(changes):
    while True:
        await asyncio.sleep(0.2)
        changes.append(None)


async def main():
    builder = Builder()
    watching = asyncio.create_task(watch_sources([]), name="watch-sources")
    await builder.build({"styles": "print('ok')", "docs": TOOL})
    print({name: len(lines) for name, lines in builder.reports.items()})
    watching.cancel()


if __name__ == "__main__":
    asyncio.run(main())
