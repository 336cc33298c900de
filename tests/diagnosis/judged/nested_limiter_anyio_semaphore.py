# expect: NESTED_LIMITER|SELF_RELOCK
# names: refill
# line: 15|21
# when: hang
# anyio: a semaphore of one slot is taken again by the method that is called under it.
import anyio


class Bucket:
    def __init__(self):
        self.gate = anyio.Semaphore(1)
        self.tokens = 0

    async def refill(self):
        async with self.gate:
            self.tokens = 10

    async def take(self):
        async with self.gate:
            if not self.tokens:
                await self.refill()
            self.tokens -= 1


async def main():
    bucket = Bucket()
    async with anyio.create_task_group() as group:
        group.start_soon(bucket.take, name="taker")


anyio.run(main)
