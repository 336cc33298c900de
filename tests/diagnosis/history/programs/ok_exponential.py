# expect: OK
# names: -
# line: -
# when: end
# A server is away for a moment, and forty clients back off as they should.
import asyncio

from spanloom import RetryPolicy, async_map


async def ask(n):
    await asyncio.sleep(0.01)
    if asyncio.get_running_loop().time() - began < 6:
        raise ConnectionError("down")
    await asyncio.sleep(1)
    return n


async def main():
    global began
    began = asyncio.get_running_loop().time()
    policy = RetryPolicy(attempts=12, base_delay=0.05, max_delay=4.0)
    await async_map(ask, range(40), limit=40, retry=policy)
    await asyncio.sleep(8)


asyncio.run(main())
