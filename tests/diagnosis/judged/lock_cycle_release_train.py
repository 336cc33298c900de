# expect: LOCK_CYCLE
# names: release, backup
# line: 22|39|48|64
# when: hang
# The release holds the release lock while it waits for its migration, which wants the database;
# the backup holds the database and wants the release lock.
import asyncio
import contextlib
import logging

log = logging.getLogger("ops")


class Resource:
    def __init__(self, name):
        self.name = name
        self._guard = asyncio.Lock()
        self.history = []

    @contextlib.asynccontextmanager
    async def reserved(self, purpose):
        async with self._guard:
            self.history.append(purpose)
            log.debug("%s reserved for %s", self.name, purpose)
            try:
                yield self
            finally:
                self.history.append(f"end of {purpose}")


class Operations:
    def __init__(self):
        self.database = Resource("database")
        self.releases = Resource("releases")
        self.nodes = [f"node-{n}" for n in range(4)]

    async def migrate(self):
        await asyncio.sleep(0.05)
        async with self.database.reserved("migration"):
            await asyncio.sleep(0.1)

    async def drain(self, node):
        await asyncio.sleep(0.05)
        return node

    async def release(self):
        async with self.releases.reserved("release 7.2"):
            async with asyncio.TaskGroup() as group:
                group.create_task(self.migrate(), name="migration")
                for node in self.nodes:
                    group.create_task(self.drain(node), name=f"drain-{node}")
            await asyncio.sleep(0.1)

    async def backup(self):
        async with self.database.reserved("backup"):
            await self.copy_tables()
            await self.freeze_releases()

    async def copy_tables(self):
        for _ in range(4):
            await asyncio.sleep(0.03)

    async def freeze_releases(self):
        async with self.releases.reserved("consistent snapshot"):
            await asyncio.sleep(0.05)


async def health(node):
    while True:
        await asyncio.sleep(0.1)


async def main():
    operations = Operations()
    checks = [asyncio.create_task(health(node), name=f"health-{node}") for node in operations.nodes]
    jobs = [
        asyncio.create_task(operations.backup(), name="backup"),
        asyncio.create_task(operations.release(), name="release"),
    ]
    await asyncio.gather(*jobs)
    for check in checks:
        check.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
