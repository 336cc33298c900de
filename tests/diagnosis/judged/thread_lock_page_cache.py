# expect: THREAD_LOCK_ACROSS_AWAIT
# names: fill, invalidate
# line: 26|30|54
# when: hang
# The cache is used by threads, so it has a thread lock, and fill() awaits while it holds it; the
# next task that takes the lock stops the loop, and with it the only one who could release it.
import asyncio
import threading


class PageCache:
    def __init__(self):
        self._mutex = threading.Lock()
        self._pages = {}
        self.hits = 0

    def size(self):
        with self._mutex:
            return len(self._pages)

    async def fill(self, path, render):
        with self._mutex:
            if path in self._pages:
                self.hits += 1
                return self._pages[path]
            self._pages[path] = await render(path)
            return self._pages[path]

    async def invalidate(self, prefix):
        with self._mutex:
            for path in [path for path in self._pages if path.startswith(prefix)]:
                del self._pages[path]


class Renderer:
    def __init__(self, cache):
        self.cache = cache

    async def _template(self, path):
        await asyncio.sleep(0.1)
        return f"<h1>{path}</h1>"

    async def page(self, path):
        return await self.cache.fill(path, self._template)


def watch_size(cache, sizes):
    while not threading.Event().wait(0.5):
        sizes.append(cache.size())


async def editor(cache):
    await asyncio.sleep(0.35)
    await cache.invalidate("/news")


async def visitor(renderer, number):
    for step in range(100):
        await renderer.page(f"/news/{number}/{step}")


async def main():
    cache = PageCache()
    threading.Thread(target=watch_size, args=(cache, []), daemon=True, name="watch-size").start()
    async with asyncio.TaskGroup() as group:
        group.create_task(visitor(Renderer(cache), 1), name="fill-pages")
        group.create_task(editor(cache), name="invalidate-news")


if __name__ == "__main__":
    asyncio.run(main())
