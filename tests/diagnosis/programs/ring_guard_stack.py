# expect: LOCK_CYCLE
# names: rename, copy
# line: 19
# Guards on exit stacks, of a class that is not the owner of the lock: it acquires and releases it two attributes away.
import asyncio
import contextlib


class Folder:
    def __init__(self, name):
        self.name = name
        self.lock = asyncio.Lock()


class Guard:
    def __init__(self, folder):
        self._owner = folder

    async def __aenter__(self):
        await self._owner.lock.acquire()
        return self

    async def __aexit__(self, *error):
        self._give_back()

    def _give_back(self):
        lock = self._owner.lock
        lock.release()


async def work(*folders):
    async with contextlib.AsyncExitStack() as stack:
        for folder in folders:
            await stack.enter_async_context(Guard(folder))
            await asyncio.sleep(0.01)


async def main():
    left, right = Folder("left"), Folder("right")
    async with asyncio.TaskGroup() as group:
        group.create_task(work(left, right), name="rename")
        group.create_task(work(right, left), name="copy")


if __name__ == "__main__":
    asyncio.run(main())
