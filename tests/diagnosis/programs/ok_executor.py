# expect: OK
# Calls in a pool, more than it has threads, while a lock is held.
import asyncio
import concurrent.futures
import time


async def convert(lock, pool):
    async with lock:
        await asyncio.get_running_loop().run_in_executor(pool, time.sleep, 0.1)


async def main():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        locks = [asyncio.Lock() for _ in range(3)]
        await asyncio.gather(*(convert(locks[n % 3], pool) for n in range(40)))


if __name__ == "__main__":
    asyncio.run(main())
