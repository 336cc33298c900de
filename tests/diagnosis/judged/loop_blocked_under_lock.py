# expect: LOOP_BLOCKED
# names: convert|convert-2|convert-0|convert-1
# line: 32|41
# when: slow
# The conversion is called synchronously while its task holds the licence that others queue for; what
# is to blame is the call and not the lock.
import asyncio
import contextlib
import subprocess
import sys


class Licence:
    def __init__(self, holders):
        self._semaphore = asyncio.Semaphore(holders)
        self.used = 0

    @contextlib.asynccontextmanager
    async def hold(self):
        async with self._semaphore:
            self.used += 1
            yield


class Converter:
    def __init__(self, licence):
        self.licence = licence
        self.done = []

    def _run_tool(self, name):
        command = [sys.executable, "-c", "import time; time.sleep(90)", name]
        return subprocess.run(command, check=True)

    async def prepare(self, name):
        await asyncio.sleep(0.05)
        return f"{name}.pdf"

    async def convert(self, name):
        async with self.licence.hold():
            target = await self.prepare(name)
            self._run_tool(target)
            self.done.append(target)


async def upload_folder(converter):
    jobs = [
        asyncio.create_task(converter.convert(name), name=f"convert-{number}")
        for number, name in enumerate(("minutes", "offer", "invoice"))
    ]
    await asyncio.gather(*jobs)


async def accept_uploads(count):
    while True:
        await asyncio.sleep(0.1)
        count[0] += 1


async def main():
    accepting = asyncio.create_task(accept_uploads([0]), name="uploads")
    await upload_folder(Converter(Licence(1)))
    accepting.cancel()


if __name__ == "__main__":
    asyncio.run(main())
