# expect: OK
# names: -
import asyncio
import concurrent.futures
import time


def inner(n):
    time.sleep(1)
    return n


async def ai(p, n):
    return await asyncio.get_running_loop().run_in_executor(p, inner, n)


def outer(loop, p, n):
    return asyncio.run_coroutine_threadsafe(ai(p, n), loop).result()


async def main():
    loop = asyncio.get_running_loop()
    a = concurrent.futures.ThreadPoolExecutor(3)
    b = concurrent.futures.ThreadPoolExecutor(1)
    await asyncio.gather(*(loop.run_in_executor(a, outer, loop, b, n) for n in range(20)))


asyncio.run(main())
