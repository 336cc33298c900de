# expect: THREAD_LOCK_ACROSS_AWAIT
# names: Store._mutex, export, collect
# A generator holds the lock from one item to the next, through an exit stack, while who iterates over it awaits.
import asyncio
import contextlib
import threading


class Store:
    def __init__(self):
        self._mutex = threading.Lock()

    def rows(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._mutex)
            yield 0
            yield 1
            yield 2
            yield 3

    def append(self, row):
        with self._mutex:  # here
            return row


async def export(store):
    for _ in store.rows():
        await asyncio.sleep(0.05)


async def collect(store):
    await asyncio.sleep(0.1)
    store.append("late")


async def main():
    store = Store()
    await asyncio.gather(asyncio.create_task(export(store)), collect(store))


asyncio.run(main())
