# expect: THREAD_POOL_EXHAUSTED
# names: convert, checksum
import asyncio
import concurrent.futures


def checksum(n):
    return n


async def chain(n):
    return await asyncio.gather(asyncio.to_thread(checksum, n), asyncio.sleep(0.01))


async def deep(n):
    return await asyncio.create_task(chain(n))


def convert(loop, n):
    f = asyncio.run_coroutine_threadsafe(deep(n), loop)
    return f.result()  # here


async def main():
    loop = asyncio.get_running_loop()
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(2))
    await asyncio.gather(*(asyncio.to_thread(convert, loop, n) for n in range(6)))


asyncio.run(main())
