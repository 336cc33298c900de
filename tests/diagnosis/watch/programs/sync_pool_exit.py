# expect: SYNC_WAIT_ON_OWN_LOOP
# names: collect, load
import asyncio
from concurrent.futures import ThreadPoolExecutor


async def load(n):
    await asyncio.sleep(0.01)


def work(loop, n):
    return asyncio.run_coroutine_threadsafe(load(n), loop).result()  # here


async def collect():
    await asyncio.sleep(0.1)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as pool:  # here
        fs = [pool.submit(work, loop, n) for n in range(3)]  # here


async def main():
    await asyncio.gather(collect(), asyncio.sleep(99))


asyncio.run(main())
