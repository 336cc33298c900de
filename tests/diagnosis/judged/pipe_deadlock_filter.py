# expect: PIPE_DEADLOCK
# names: run_filter|spell-check|spell_check, stdin|stdout
# line: 39|48
# when: hang
# All of a long text is written to the filter before anything is read of what it answers; the filter
# stops reading when its own pipe is full, and both wait for the other to read.
import asyncio
import sys

UPPER = """
import sys
for line in sys.stdin:
    sys.stdout.write(line.upper())
    sys.stdout.flush()
"""


class Filter:
    def __init__(self, program):
        self.program = program
        self.process = None

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", self.program),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *exc_info):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def send(self, lines):
        for line in lines:
            self.process.stdin.write(line.encode() + b"\n")
            await self.process.stdin.drain()
        self.process.stdin.close()

    async def receive(self):
        return [line.decode() async for line in self.process.stdout]


async def run_filter(text):
    async with Filter(UPPER) as filtering:
        await filtering.send(text)
        return await filtering.receive()


async def cursor():
    while True:
        await asyncio.sleep(0.1)


async def main():
    blinking = asyncio.create_task(cursor(), name="cursor")
    text = [f"line {number} of a long report about everything" for number in range(60_000)]
    lines = await asyncio.create_task(run_filter(text), name="spell-check")
    print(len(lines), "lines")
    blinking.cancel()


if __name__ == "__main__":
    asyncio.run(main())
