# expect: LOCK_CYCLE
# names: left, right
# line: 12
# Two locks are taken in opposite order by what is given to the tasks as methods.
import asyncio
from functools import partial


async def both(take_first, give_first, take_second, give_second):
    await take_first()
    await asyncio.sleep(0.02)
    await take_second()
    give_second()
    give_first()


async def main():
    paper, ink = asyncio.Lock(), asyncio.Lock()
    one = partial(both, paper.acquire, paper.release)
    two = partial(both, ink.acquire, ink.release)
    left = asyncio.create_task(one(ink.acquire, ink.release), name="left")
    right = asyncio.create_task(two(paper.acquire, paper.release), name="right")
    await asyncio.gather(left, right)
