# expect: OK
# names: -
# line: -
# when: end
# A large text goes through a child process that takes its time over it, written by one task and read
# by another: pipes are full now and then and always move again.
import asyncio
import sys

SLOW = """
import sys, time
for number, line in enumerate(sys.stdin):
    if number % 1000 == 0:
        time.sleep(0.3)
    sys.stdout.write(line.upper())
"""


async def write_all(stdin, lines):
    for number in range(lines):
        stdin.write(b"line %d of a long report about everything\n" % number)
        await stdin.drain()
    stdin.close()


async def read_all(stdout):
    return sum([1 async for _ in stdout])


async def main():
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SLOW),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(write_all(process.stdin, 60_000), name="writer")
        reading = group.create_task(read_all(process.stdout), name="reader")
    print(reading.result(), await process.wait())


if __name__ == "__main__":
    asyncio.run(main())
