# expect: OK
# names: -
# line: -
# when: end
# Jobs of one batch run batches of their own under another limiter, the results go through a stream to
# a consumer that takes its time: everything is full and everything moves.
import asyncio

from spanloom import FixedLimiter, async_map, stream

pages = FixedLimiter(5, name="pages")
books = FixedLimiter(3, name="books")


async def translate_page(page):
    await asyncio.sleep(0.3)
    return page[::-1]


async def translate_book(title):
    translated = await async_map(translate_page, [f"{title} {n}" for n in range(8)], limit=pages)
    return title, len(translated)


async def main():
    shelf = [f"volume {n}" for n in range(40)]
    done = []
    async with stream(translate_book, shelf, limit=books) as outcomes:
        async for outcome in outcomes:
            await asyncio.sleep(0.05)
            done.append(outcome.unwrap())
    print(len(done), "books")


if __name__ == "__main__":
    asyncio.run(main())
