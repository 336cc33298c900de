# expect: OK
# names: -
# line: -
# when: end
# Threads of one pool wait for what is queued in another pool, which is small and slow and works it
# off; the loop waits for both.
import asyncio
import concurrent.futures
import time


class Press:
    def __init__(self):
        self.books = concurrent.futures.ThreadPoolExecutor(3, thread_name_prefix="books")
        self.chapters = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="chapters")

    def typeset_chapter(self, title, number):
        time.sleep(0.8)
        return f"{title} {number}"

    def typeset_book(self, title, chapters):
        futures = [self.chapters.submit(self.typeset_chapter, title, n) for n in range(chapters)]
        return [future.result() for future in futures]

    async def order(self, title):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.books, self.typeset_book, title, 9)


async def main():
    press = Press()
    titles = ("atlas", "bible", "cookbook", "diary", "encyclopedia")
    books = await asyncio.gather(*(asyncio.create_task(press.order(t), name=t) for t in titles))
    print(sum(map(len, books)), "chapters")


if __name__ == "__main__":
    asyncio.run(main())
