# expect: EVENT_NEVER_SET
# names: database, cache
# line: 14
# Each service waits until the one before it is ready, and the first one for the last.
import asyncio


class Service:
    def __init__(self, before):
        self.ready = asyncio.Event()
        self.before = before

    async def start(self):
        await asyncio.gather(*(other.ready.wait() for other in self.before))
        self.ready.set()


async def main():
    database, cache = Service([]), Service([])
    web = Service([cache])
    cache.before, database.before = [database], [cache]
    async with asyncio.TaskGroup() as group:
        for name, service in (("database", database), ("cache", cache), ("web", web)):
            group.create_task(service.start(), name=name)


if __name__ == "__main__":
    asyncio.run(main())
