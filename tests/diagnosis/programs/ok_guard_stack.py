# expect: OK
# Guards on exit stacks that always take the locks in one order, and give them back two attributes away.
import asyncio
import contextlib


class Folder:
    def __init__(self):
        self.lock = asyncio.Lock()


class Guard:
    def __init__(self, folder):
        self._owner = folder

    async def __aenter__(self):
        await self._owner.lock.acquire()
        return self

    async def __aexit__(self, *error):
        lock = self._owner.lock
        lock.release()


async def work(folders):
    async with contextlib.AsyncExitStack() as stack:
        for folder in folders:
            await stack.enter_async_context(Guard(folder))
        await asyncio.sleep(0.3)


async def main():
    folders = [Folder(), Folder()]
    await asyncio.gather(*(work(folders) for _ in range(10)))


if __name__ == "__main__":
    asyncio.run(main())
