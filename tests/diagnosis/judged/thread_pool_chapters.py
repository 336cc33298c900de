# expect: THREAD_POOL_EXHAUSTED
# names: typeset_book, typeset_chapter
# line: 29|35|40
# when: hang
# Three threads of the printing pool typeset books, and each waits for its chapters, which are queued
# behind them in the same pool.
import asyncio
import concurrent.futures
import functools
import time


def hyphenate(text):
    time.sleep(0.005)
    return text.replace("-", "")


class Press:
    def __init__(self, threads):
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="press")
        self.printed = []

    def typeset_chapter(self, title, number):
        return hyphenate(f"{title}-{number}")

    def _collect(self, futures):
        pages = []
        for future in futures:
            pages.append(future.result())
        return pages

    def typeset_book(self, title, chapters):
        time.sleep(0.02)
        futures = [self._pool.submit(self.typeset_chapter, title, n) for n in range(chapters)]
        return self._collect(futures)

    async def order(self, title):
        loop = asyncio.get_running_loop()
        work = functools.partial(self.typeset_book, title, 5)
        pages = await loop.run_in_executor(self._pool, work)
        self.printed.append((title, len(pages)))


async def bell():
    while True:
        await asyncio.sleep(0.1)


async def read_proofs():
    return await asyncio.to_thread(time.sleep, 0.2)


async def main():
    press = Press(3)
    ringing = asyncio.create_task(bell(), name="bell")
    async with asyncio.TaskGroup() as group:
        group.create_task(read_proofs(), name="proofs")
        for title in ("atlas", "bible", "cookbook", "diary"):
            group.create_task(press.order(title), name=f"order-{title}")
    ringing.cancel()


if __name__ == "__main__":
    asyncio.run(main())
