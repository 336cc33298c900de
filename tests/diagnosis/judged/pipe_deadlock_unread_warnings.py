# expect: PIPE_DEADLOCK
# names: run_tool, stderr
# line: 16
# when: hang
# A thread reads the child's output to its end, while the child is stuck in writing its warnings to
# the other pipe, which nobody reads.
import asyncio
import subprocess
import sys

TOOL = "import sys\nfor n in range(20000): print('warning', n, file=sys.stderr)\nprint('done')"


def run_tool():
    process = subprocess.Popen([sys.executable, "-c", TOOL], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output = process.stdout.read()
    return output, process.stderr.read()


async def heartbeat():
    while True:
        await asyncio.sleep(0.1)


async def main():
    beat = asyncio.create_task(heartbeat(), name="heartbeat")
    print(await asyncio.to_thread(run_tool))
    beat.cancel()


if __name__ == "__main__":
    asyncio.run(main())
