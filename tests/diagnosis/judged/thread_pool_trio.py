# expect: THREAD_POOL_EXHAUSTED|BARRIER_SHORT
# names: rehearse
# line: 18
# when: hang
# Three musicians wait for each other at a threading.Barrier, but the pool has two threads: the third
# one is queued behind the first two.
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial


class Trio:
    def __init__(self):
        self.together = threading.Barrier(3)

    def rehearse(self, instrument):
        self.together.wait()
        return instrument


async def main():
    loop = asyncio.get_running_loop()
    trio = Trio()
    with ThreadPoolExecutor(2, thread_name_prefix="stage") as stage:
        parts = [partial(trio.rehearse, name) for name in ("violin", "cello", "piano")]
        print(await asyncio.gather(*(loop.run_in_executor(stage, part) for part in parts)))


if __name__ == "__main__":
    asyncio.run(main())
