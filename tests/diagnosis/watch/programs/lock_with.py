# expect: THREAD_LOCK_ACROSS_AWAIT
# names: writer, reader|Reader, _lock
import asyncio
import threading


class Store:
    def __init__(self):
        self._lock = threading.Lock()

    async def write(self):
        with self._lock:  # here
            await asyncio.sleep(0.3)

    async def other(self):
        await asyncio.sleep(100)


store = Store()


async def writer():
    await store.write()


async def reader():
    await asyncio.sleep(0.1)
    with store._lock:  # here
        return 1


async def main():
    await asyncio.gather(
        asyncio.create_task(writer(), name="writer"),
        asyncio.create_task(reader(), name="reader"),
        store.other(),
    )


asyncio.run(main())
