# expect: SYNC_WAIT_ON_OWN_LOOP
# names: handler, load
import asyncio
from concurrent.futures import ThreadPoolExecutor


async def load(n):
    await asyncio.sleep(0.01)


def work(loop, n):
    return asyncio.run_coroutine_threadsafe(load(n), loop).result()  # here


async def handler():
    await asyncio.sleep(0.1)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda n: work(loop, n), range(5)))  # here


async def main():
    await handler()


asyncio.run(main())
