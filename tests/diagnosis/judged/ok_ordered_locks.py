# expect: OK
# names: -
# line: -
# when: end
# Moves between albums lock both of them in the order of their titles, through an exit stack: much
# waiting, and never in a ring.
import asyncio
import contextlib


class Album:
    def __init__(self, title, photos):
        self.title = title
        self.photos = list(range(photos))
        self.mutex = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def lease(self):
        async with self.mutex:
            yield self


class Library:
    def __init__(self, titles):
        self.albums = {title: Album(title, 40) for title in titles}
        self.moved = 0

    @contextlib.asynccontextmanager
    async def both(self, *titles):
        async with contextlib.AsyncExitStack() as stack:
            for title in sorted(titles):
                await stack.enter_async_context(self.albums[title].lease())
            yield [self.albums[title] for title in titles]

    async def move(self, source, target):
        async with self.both(source, target) as (origin, goal):
            await asyncio.sleep(0.4)
            goal.photos.append(origin.photos.pop())
            self.moved += 1


async def main():
    library = Library(["family", "press", "summer"])
    routes = [("summer", "family"), ("family", "press"), ("press", "summer")] * 17
    async with asyncio.TaskGroup() as group:
        for number, (source, target) in enumerate(routes):
            group.create_task(library.move(source, target), name=f"move-{number}-{source}-{target}")
    print(library.moved, "photos moved")


if __name__ == "__main__":
    asyncio.run(main())
