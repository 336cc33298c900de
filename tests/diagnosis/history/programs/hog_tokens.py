# expect: SLOT_HOG
# names: crawl
# line: 24
# when: hang
# The slots are tokens in a queue; who has one sleeps before its next try, and all others wait for a token.
import asyncio


class Busy(Exception):
    pass


async def get(url):
    await asyncio.sleep(0.01)
    raise Busy(url)


async def crawl(tokens, url):
    token = await tokens.get()
    try:
        for attempt in range(6):
            try:
                return await get(url)
            except Busy:
                await asyncio.sleep(20 * 2**attempt)
    finally:
        tokens.put_nowait(token)


async def main():
    tokens = asyncio.Queue()
    for n in range(3):
        tokens.put_nowait(n)
    await asyncio.gather(*(crawl(tokens, f"https://example.org/{n}") for n in range(9)))


asyncio.run(main())
