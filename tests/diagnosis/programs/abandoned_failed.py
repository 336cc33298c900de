# expect: LOCK_ABANDONED
# names: gate, migrate
# The migration failed while it held the gate.
import asyncio


class Database:
    def __init__(self):
        self.gate = asyncio.Lock()

    async def migrate(self):
        await self.gate.acquire()
        await asyncio.sleep(0.01)
        raise RuntimeError("no space")

    async def query(self):
        await asyncio.sleep(0.02)
        async with self.gate:
            return 1


async def main():
    database = Database()
    migration = asyncio.create_task(database.migrate(), name="migration")
    await asyncio.gather(*(database.query() for _ in range(3)))
    await migration


if __name__ == "__main__":
    asyncio.run(main())
