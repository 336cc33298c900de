# expect: LOCK_ABANDONED
# names: guard, importer
# line: 16|28
# when: hang
# The lock is entered by hand, as if the caller would leave it; he never does, and ends.
import asyncio


class Catalogue:
    def __init__(self):
        self.guard = asyncio.Lock()
        self.books = []

    async def edit(self):
        await self.guard.__aenter__()
        return self.books


async def import_books(catalogue):
    books = await catalogue.edit()
    await asyncio.sleep(0.05)
    books.append("a book")


async def show(catalogue):
    await asyncio.sleep(0.2)
    async with catalogue.guard:
        print(len(catalogue.books))


async def main():
    catalogue = Catalogue()
    importing = asyncio.create_task(import_books(catalogue), name="importer")
    await importing
    await asyncio.gather(*(show(catalogue) for _ in range(3)))


if __name__ == "__main__":
    asyncio.run(main())
