# expect: STRAGGLER
# names: resize
# line: 12
# when: slow
# Two of sixty jobs of a batch hang at a slow server.
import asyncio

from spanloom import async_map


async def resize(n):
    await asyncio.sleep(60 if n in (11, 40) else 0.03)
    return n


async def main():
    await async_map(resize, range(60), limit=10)


asyncio.run(main())
