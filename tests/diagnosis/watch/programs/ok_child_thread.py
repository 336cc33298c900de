# expect: OK
# names: -
# A child waits for its next line of input, and a thread of it will write what is waited for here.
import asyncio
import sys

CODE = """
import sys, threading
threading.Timer(50, print, ("alarm",)).start()
for line in sys.stdin: print(line, flush=True)
"""


async def main():
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CODE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    child.stdin.write(b"hello\n")
    while await child.stdout.readline():
        pass


if __name__ == "__main__":
    asyncio.run(main())
