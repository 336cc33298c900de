# expect: BARRIER_SHORT
# names: 4, 5
# line: 22|26
# when: hang
# The barrier was made for the shards and the coordinator, but the coordinator waits for the shards
# to end instead of coming to the barrier: four of five are there.
import asyncio


class Migration:
    def __init__(self, shards):
        self.shards = shards
        self.copied = asyncio.Barrier(len(shards) + 1)
        self.switched = []

    async def copy(self, shard):
        for _ in range(3):
            await asyncio.sleep(0.02 * len(shard))
        return shard

    async def _all_copied(self):
        await self.copied.wait()

    async def switch(self, shard):
        await self.copy(shard)
        await self._all_copied()
        self.switched.append(shard)

    async def run(self):
        async with asyncio.TaskGroup() as group:
            for shard in self.shards:
                group.create_task(self.switch(shard), name=f"shard-{shard}")
        await self._all_copied()
        print("switched", self.switched)


async def replicate(log):
    while True:
        await asyncio.sleep(0.05)
        log.append("change")


async def main():
    migration = Migration(["eu", "us", "asia", "test"])
    replication = asyncio.create_task(replicate([]), name="replication")
    coordinator = asyncio.create_task(migration.run(), name="coordinator")
    await coordinator
    replication.cancel()


if __name__ == "__main__":
    asyncio.run(main())
