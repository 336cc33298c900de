# expect: OK
# names: -
# line: -
# when: end
# Both threads of the pool wait for a flag and more calls are queued behind them, but a timer of the
# loop raises the flag.
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor


def print_page(flag, n):
    flag.wait()
    return n


async def main():
    loop = asyncio.get_running_loop()
    flag = threading.Event()
    loop.call_later(20, flag.set)
    with ThreadPoolExecutor(2) as pool:
        calls = [loop.run_in_executor(pool, print_page, flag, n) for n in range(6)]
        print(await asyncio.gather(*calls))


if __name__ == "__main__":
    asyncio.run(main())
