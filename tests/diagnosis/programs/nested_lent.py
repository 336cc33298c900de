# expect: NESTED_LIMITER
# names: index_folder, index_file
# line: 13|22|32
# Workers are lent and returned by methods; folders keep theirs while they wait for one for each file.
import asyncio


class Bureau:
    def __init__(self, workers):
        self._workers = asyncio.Semaphore(workers)

    async def lend(self):
        await self._workers.acquire()

    def returned(self):
        self._workers.release()


class Indexer:
    async def index_file(self, bureau, name):
        await asyncio.sleep(0)
        await bureau.lend()
        try:
            await asyncio.sleep(0.01)
        finally:
            bureau.returned()

    async def index_folder(self, bureau, folder):
        await bureau.lend()
        try:
            await asyncio.sleep(0.02)
            await asyncio.gather(*(self.index_file(bureau, f"{folder}/{n}") for n in range(3)))
        finally:
            bureau.returned()


async def main():
    bureau, indexer = Bureau(3), Indexer()
    await asyncio.gather(*(indexer.index_folder(bureau, n) for n in range(6)))


if __name__ == "__main__":
    asyncio.run(main())
