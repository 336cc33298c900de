# expect: OK
# names: -
import asyncio
import concurrent.futures

pool = concurrent.futures.ThreadPoolExecutor(2)


def inner(n):
    return n


def outer(n):
    import time

    time.sleep(0.2)
    f = pool.submit(inner, n)
    try:
        return f.result(timeout=8)
    except TimeoutError:
        return None


async def main():
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.run_in_executor(pool, outer, n) for n in range(2)))


asyncio.run(main())
