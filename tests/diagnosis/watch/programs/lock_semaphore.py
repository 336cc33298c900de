# expect: THREAD_LOCK_ACROSS_AWAIT
# names: fill, ask
import asyncio
import threading
from contextlib import contextmanager


class Catalog:
    def __init__(self):
        self._one = threading.BoundedSemaphore(1)

    @contextmanager
    def locked(self):
        with self._one:  # here
            yield

    async def fill(self):
        with self.locked():
            await asyncio.sleep(0.1)

    async def ask(self):
        await asyncio.sleep(0.05)
        with self.locked():
            return 1


async def main():
    catalog = Catalog()
    await asyncio.gather(catalog.fill(), catalog.ask())


if __name__ == "__main__":
    asyncio.run(main())
