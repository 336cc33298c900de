# expect: SLOT_HOG
# names: resize
# line: 28|29
# when: slow
# Workers of a stream sleep for minutes before their second attempt while the others are queued.
import asyncio

from spanloom import FixedLimiter, RetryPolicy, stream


class Busy(Exception):
    pass


first = set()


async def resize(number):
    await asyncio.sleep(0.01)
    if number < 3 and number not in first:
        first.add(number)
        raise Busy(number)
    return number


async def main():
    policy = RetryPolicy(attempts=3, base_delay=180.0, max_delay=180.0, jitter=0.0, retry_on=(Busy,))
    async with stream(resize, range(50), limit=FixedLimiter(3, name="gpu"), retry=policy) as outcomes:
        async for outcome in outcomes:
            print(outcome)


asyncio.run(main())
