# expect: OK
# Calls in a pool of processes, more than it has: neither a frame of this process nor its own code resolves them.
import asyncio
import concurrent.futures
import signal
import time


async def convert(pool):
    await asyncio.get_running_loop().run_in_executor(pool, time.sleep, 0.1)


async def main():
    with concurrent.futures.ProcessPoolExecutor(2, initializer=signal.alarm, initargs=(20,)) as pool:
        await asyncio.gather(*(convert(pool) for _ in range(40)))


if __name__ == "__main__":
    asyncio.run(main())
