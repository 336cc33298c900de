# expect: THREAD_POOL_EXHAUSTED
# names: simulate
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor


def simulate(barrier, n):
    barrier.wait()  # here
    return n


async def main():
    loop = asyncio.get_running_loop()
    barrier = threading.Barrier(5)
    with ThreadPoolExecutor(4) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, simulate, barrier, n) for n in range(5)))


asyncio.run(main())
