# expect: QUEUE_NO_PRODUCER
# names: encoder-0|encoder-1|encoder-2|encoder-3|encode
# line: 41|48
# when: hang
# The scanner sends one end mark for four encoders: the first of them ends, the other three wait for
# the next film for ever.
import asyncio
import contextlib


class EndOfFilms:
    """Sorts behind all films."""

    priority = 1_000

    def __lt__(self, other):
        return False


class Film:
    def __init__(self, priority, title):
        self.priority, self.title = priority, title

    def __lt__(self, other):
        return self.priority < other.priority


class Studio:
    def __init__(self):
        self.waiting = asyncio.PriorityQueue()
        self.encoded = []

    async def scan(self, count):
        for number in range(count):
            await asyncio.sleep(0.004)
            await self.waiting.put(Film(number % 5, f"film {number}"))
        await self.waiting.put(EndOfFilms())

    async def films(self):
        while True:
            film = await self.waiting.get()
            if isinstance(film, EndOfFilms):
                return
            yield film

    async def encode(self):
        async with contextlib.aclosing(self.films()) as films:
            async for film in films:
                await asyncio.sleep(0.01)
                self.encoded.append(film.title)


async def show_temperature():
    while True:
        await asyncio.sleep(0.2)


async def main():
    studio = Studio()
    fan = asyncio.create_task(show_temperature(), name="fan")
    async with asyncio.TaskGroup() as group:
        group.create_task(studio.scan(60), name="scanner")
        for n in range(4):
            group.create_task(studio.encode(), name=f"encoder-{n}")
    print(len(studio.encoded), "films")
    fan.cancel()


if __name__ == "__main__":
    asyncio.run(main())
