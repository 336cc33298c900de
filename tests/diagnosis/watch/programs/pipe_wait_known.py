# expect: PIPE_DEADLOCK
# names: run
import asyncio
import subprocess
import sys


class Tool:
    def __init__(self):
        code = "print('line ' * 100_000)"
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)

    def run(self):
        return self.process.wait(), self.process.stdout.read()  # here


async def main():
    tool = Tool()
    print(await asyncio.to_thread(tool.run))  # here


if __name__ == "__main__":
    asyncio.run(main())
