# expect: THREAD_POOL_EXHAUSTED
# names: a_work, b_work
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor, wait

A = ThreadPoolExecutor(1, thread_name_prefix="A")
B = ThreadPoolExecutor(1, thread_name_prefix="B")


def a_work(n):
    time.sleep(0.2)
    return B.submit(b_work, n).result()  # here


def b_work(n):
    fs = [A.submit(leaf, n)]
    wait(fs)  # here
    return fs[0].result()


def leaf(n):
    return n


async def main():
    await asyncio.get_running_loop().run_in_executor(A, a_work, 1)


asyncio.run(main())
