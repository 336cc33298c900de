# expect: OK
# An executor of the program's own, which a library might as well have brought: one thread, and a list of calls.
import asyncio
import concurrent.futures
import queue
import threading
import time


class Serial(concurrent.futures.Executor):
    def __init__(self):
        self.calls = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, function, /, *args, **kwargs):
        future = concurrent.futures.Future()
        self.calls.put((future, function, args, kwargs))
        return future

    def _work(self):
        while True:
            future, function, args, kwargs = self.calls.get()
            future.set_result(function(*args, **kwargs))


async def convert(pool):
    await asyncio.get_running_loop().run_in_executor(pool, time.sleep, 0.1)


async def main():
    pool = Serial()
    await asyncio.gather(*(convert(pool) for _ in range(30)))


if __name__ == "__main__":
    asyncio.run(main())
