# expect: NESTED_LIMITER
# names: translate_book, translate_page
# line: 22|30
# when: hang
# One object with one semaphore serves the books, which are run as jobs, and their pages, which a
# stream inside of each job runs: all four slots belong to books.
import asyncio

from spanloom import run_jobs, stream


class Translator:
    def __init__(self, slots):
        self._calls = asyncio.Semaphore(slots)
        self.finished = []

    async def ask(self, text):
        await asyncio.sleep(0.01)
        return text[::-1]

    async def translate_page(self, page):
        async with self._calls:
            return await self.ask(page)

    async def translate_book(self, title, pages):
        async with self._calls:
            words = await self.ask(title)
            translated = []
            async with stream(self.translate_page, pages, limit=3) as outcomes:
                async for outcome in outcomes:
                    translated.append(outcome.unwrap())
            self.finished.append((words, len(translated)))


def pages_of(title, count):
    return [f"{title}, page {number}" for number in range(count)]


async def progress(translator):
    while True:
        await asyncio.sleep(0.3)
        print(len(translator.finished), "books")


async def main():
    translator = Translator(4)
    shelf = {f"volume {n}": pages_of(f"volume {n}", 6 + n) for n in range(9)}
    ticker = asyncio.create_task(progress(translator), name="progress")
    jobs = [translator.translate_book(title, pages) for title, pages in shelf.items()]
    await run_jobs(jobs, workers=5, desc="books")
    ticker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
