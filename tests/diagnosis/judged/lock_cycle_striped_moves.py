# expect: LOCK_CYCLE
# names: move-0, move-1, move-2
# line: 18|28
# when: hang
# Three moves between three shards each hold the lock of their source and want that of their
# target; the counters only queue behind them.
import asyncio
import contextlib


class Striped:
    def __init__(self, shards):
        self._locks = [asyncio.Lock() for _ in range(shards)]
        self.rows = [[n] * 10 for n in range(shards)]

    @contextlib.asynccontextmanager
    async def shard(self, n):
        await self._locks[n].acquire()
        try:
            yield self.rows[n]
        finally:
            self._locks[n].release()


async def move(striped, source, target):
    async with contextlib.AsyncExitStack() as stack:
        for shard in (source, target):
            rows = await stack.enter_async_context(striped.shard(shard))
            await asyncio.sleep(0.05)
        rows.append(source)


async def count(striped, n):
    await asyncio.sleep(0.1)
    async with striped.shard(n) as rows:
        return len(rows)


async def main():
    striped = Striped(4)
    moves = [(0, 1), (1, 2), (2, 0), (3, 0)]
    jobs = [asyncio.create_task(move(striped, *each), name=f"move-{n}") for n, each in enumerate(moves)]
    jobs += [asyncio.create_task(count(striped, n), name=f"count-{n}") for n in range(4)]
    for job in asyncio.as_completed(jobs, timeout=None):
        print(await job)


if __name__ == "__main__":
    asyncio.run(main())
