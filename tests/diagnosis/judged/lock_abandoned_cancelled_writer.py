# expect: LOCK_ABANDONED
# names: _journal, first-writer
# line: 19|29
# when: hang
# The first writer was cancelled between acquire() and its try block; its lock stays locked and the
# other writers wait.
import asyncio


class Journal:
    def __init__(self):
        self._journal = asyncio.Lock()
        self.lines = []

    async def prepare(self, line):
        await asyncio.sleep(0.3 if line == 0 else 0.01)

    async def write(self, line):
        await self._journal.acquire()
        await self.prepare(line)
        try:
            self.lines.append(line)
        finally:
            self._journal.release()


async def writer(journal, n):
    await asyncio.sleep(0.01 * n)
    await journal.write(n)


async def main():
    journal = Journal()
    first = asyncio.create_task(writer(journal, 0), name="first-writer")
    others = [asyncio.create_task(writer(journal, n), name=f"writer-{n}") for n in range(1, 4)]
    await asyncio.sleep(0.15)
    first.cancel()
    await asyncio.gather(*others)


if __name__ == "__main__":
    asyncio.run(main())
