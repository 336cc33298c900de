# expect: THREAD_POOL_EXHAUSTED
# names: outer, inner
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(3, thread_name_prefix="io")


def inner(n):
    return n


def outer(n):
    time.sleep(0.1)
    return pool.submit(inner, n).result()  # here


async def tick():
    while True:
        await asyncio.sleep(0.1)


async def main():
    loop = asyncio.get_running_loop()
    t = asyncio.create_task(tick())
    await asyncio.gather(*(loop.run_in_executor(pool, outer, n) for n in range(3)))


asyncio.run(main())
