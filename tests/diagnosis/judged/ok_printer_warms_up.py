# expect: OK
# names: -
# line: -
# when: end
# The queue is full and all writers wait for room, until the child process that warms the printer
# up has ended; then it empties in no time.
import asyncio
import sys


class Printer:
    def __init__(self):
        self.jobs = asyncio.Queue(maxsize=3)
        self.printed = 0

    async def run(self):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(18)")
        await process.wait()
        while True:
            await self.jobs.get()
            self.printed += 1
            self.jobs.task_done()


async def editor(printer, n):
    for page in range(5):
        await printer.jobs.put((n, page))


async def main():
    printer = Printer()
    running = asyncio.create_task(printer.run(), name="printer")
    async with asyncio.TaskGroup() as group:
        for n in range(4):
            group.create_task(editor(printer, n), name=f"editor-{n}")
    await printer.jobs.join()
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main())
