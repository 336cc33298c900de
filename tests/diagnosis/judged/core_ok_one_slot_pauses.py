# expect: OK
# names: -
# line: -
# when: end
# One of four slots is held by a job that pauses for ten seconds before its next try; the other three
# move on.
import asyncio

from spanloom import FixedLimiter, RetryPolicy, async_map


class Busy(Exception):
    retry_after = 10.0


class Archive:
    def __init__(self):
        self.refused = set()

    async def fetch(self, box):
        await asyncio.sleep(0.4)
        if box == 9 and box not in self.refused:
            self.refused.add(box)
            raise Busy(f"box {box} is being filed")
        return box * 2


async def heartbeat():
    while True:
        await asyncio.sleep(0.25)


async def main():
    archive = Archive()
    beating = asyncio.create_task(heartbeat(), name="heartbeat")
    limiter = FixedLimiter(4, name="reading room")
    policy = RetryPolicy(attempts=3, base_delay=0.2, retry_on=(Busy,))
    boxes = await async_map(archive.fetch, range(190), limit=limiter, retry=policy)
    print(len(boxes), "boxes")
    beating.cancel()


if __name__ == "__main__":
    asyncio.run(main())
