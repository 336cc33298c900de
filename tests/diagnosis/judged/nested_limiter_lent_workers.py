# expect: NESTED_LIMITER
# names: index_folder, index_file
# line: 15|28|38
# when: hang
# Workers are lent and returned by methods of a bureau; folders keep theirs while they wait for one for each file.
import asyncio


class Bureau:
    def __init__(self, workers):
        self._workers = asyncio.Semaphore(workers)
        self.lent = 0

    async def lend(self):
        await self._workers.acquire()
        self.lent += 1

    def returned(self):
        self.lent -= 1
        self._workers.release()


class Indexer:
    def __init__(self, bureau):
        self.bureau = bureau

    async def index_file(self, name):
        await self.bureau.lend()
        try:
            await asyncio.sleep(0.01)
        finally:
            self.bureau.returned()

    async def index_folder(self, folder):
        await self.bureau.lend()
        try:
            await asyncio.sleep(0.02)
            await asyncio.gather(*(self.index_file(f"{folder}/{n}") for n in range(3)))
        finally:
            self.bureau.returned()


async def main():
    indexer = Indexer(Bureau(3))
    await asyncio.gather(*(indexer.index_folder(n) for n in range(6)))


if __name__ == "__main__":
    asyncio.run(main())
