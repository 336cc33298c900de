# expect: LOCK_CYCLE
# names: summer-to-family, family-to-press, press-to-summer
# line: 18|55
# when: hang
# Three moves between albums each hold the album they take from and want the one they give to, all
# through a lease on an exit stack; a reindex only queues behind them.
import asyncio
import contextlib


class Lease:
    """One album to oneself, with a note of who has it."""

    def __init__(self, album):
        self._album = album

    async def __aenter__(self):
        await self._album.mutex.acquire()
        self._album.leased_at = asyncio.get_running_loop().time()
        return self._album

    async def __aexit__(self, *exc_info):
        self._album.leased_at = None
        self._album.mutex.release()


class Album:
    def __init__(self, title, photos):
        self.title = title
        self.photos = list(photos)
        self.mutex = asyncio.Lock()
        self.leased_at = None

    def lease(self):
        return Lease(self)


class Library:
    def __init__(self):
        self.albums = {}

    def add(self, title, count):
        self.albums[title] = Album(title, [f"{title}-{n}.jpg" for n in range(count)])

    async def thumbnail(self, photo):
        await asyncio.sleep(0.02)
        return photo.replace(".jpg", ".thumb")

    async def move(self, source, target, count):
        async with contextlib.AsyncExitStack() as stack:
            origin = await stack.enter_async_context(self.albums[source].lease())
            chosen = origin.photos[:count]
            for photo in chosen:
                await self.thumbnail(photo)
            goal = await stack.enter_async_context(self.albums[target].lease())
            goal.photos.extend(chosen)
            del origin.photos[:count]

    async def reindex(self):
        await asyncio.sleep(0.3)
        total = 0
        for album in self.albums.values():
            async with album.lease():
                total += len(album.photos)
        return total


async def report_memory(samples):
    while True:
        await asyncio.sleep(0.2)
        samples.append(len(asyncio.all_tasks()))


async def main():
    library = Library()
    for title in ("summer", "family", "press"):
        library.add(title, 12)
    monitor = asyncio.create_task(report_memory([]), name="memory")
    async with asyncio.TaskGroup() as group:
        for source, target in (("summer", "family"), ("family", "press"), ("press", "summer")):
            group.create_task(library.move(source, target, 3), name=f"{source}-to-{target}")
        group.create_task(library.reindex(), name="reindex")
    monitor.cancel()


if __name__ == "__main__":
    asyncio.run(main())
