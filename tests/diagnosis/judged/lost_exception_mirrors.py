# expect: LOST_EXCEPTION
# names: mirror-dublin|copy_to|copy, PermissionError
# line: 19|29
# when: end
# The copies are awaited with asyncio.wait(), which raises nothing, and the set of those that are done
# is thrown away with the error of one in it.
import asyncio


class Mirror:
    def __init__(self, city, writable=True):
        self.city = city
        self.writable = writable
        self.files = []

    async def store(self, name):
        await asyncio.sleep(0.02)
        if not self.writable:
            raise PermissionError(f"{self.city}: read-only file system")
        self.files.append(name)


class Publisher:
    def __init__(self, mirrors):
        self.mirrors = mirrors
        self.published = 0

    async def copy_to(self, mirror, name):
        await mirror.store(name)

    async def publish(self, name):
        copies = [
            asyncio.create_task(self.copy_to(mirror, name), name=f"mirror-{mirror.city}")
            for mirror in self.mirrors
        ]
        await asyncio.wait(copies, timeout=2)
        self.published += 1

    async def watch_folder(self, names):
        for name in names:
            await self.publish(name)
            await asyncio.sleep(0.3)


async def metrics(publisher):
    while True:
        await asyncio.sleep(0.5)
        print(publisher.published, "files published")


async def main():
    mirrors = [Mirror("oslo"), Mirror("dublin", writable=False), Mirror("porto")]
    publisher = Publisher(mirrors)
    measuring = asyncio.create_task(metrics(publisher), name="metrics")
    await publisher.watch_folder([f"release-{n}.tar" for n in range(60)])
    measuring.cancel()


if __name__ == "__main__":
    asyncio.run(main())
