# expect: THREAD_LOCK_ACROSS_AWAIT
# names: index, copy_all, search
import asyncio
import contextlib
import threading

index = threading.Lock()


class Session:
    def __init__(self):
        self._closers = contextlib.ExitStack()

    async def __aenter__(self):
        index.acquire()
        self._closers.callback(index.release)
        return self

    async def __aexit__(self, *error):
        self._closers.close()


async def copy_all():
    async with Session():
        await asyncio.get_running_loop().create_future()


async def search():
    await asyncio.sleep(0.1)
    with index:  # here
        return 1


async def main():
    await asyncio.gather(copy_all(), search())


asyncio.run(main())
