# expect: THREAD_POOL_EXHAUSTED
# names: consume, produce
import asyncio
import queue


class Channel:
    def __init__(self):
        self.q = queue.Queue()

    def produce(self):
        self.q.put(1)

    def consume(self):
        return self.q.get()  # here


async def main():
    loop = asyncio.get_running_loop()
    c = Channel()
    from concurrent.futures import ThreadPoolExecutor

    loop.set_default_executor(ThreadPoolExecutor(2))
    await asyncio.gather(*(asyncio.to_thread(c.consume) for _ in range(2)), asyncio.to_thread(c.produce))


asyncio.run(main())
