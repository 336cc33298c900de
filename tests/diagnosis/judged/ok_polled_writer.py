# expect: OK
# names: -
# line: -
# when: hang
# A writer takes rows for as long as some come within a fifth of a second, and says task_done() for all of them when
# they are written, which takes seconds; leaving the block waits for that.
import asyncio
import contextlib


class Table:
    def __init__(self):
        self._rows = asyncio.Queue()
        self._task = None
        self.stored = []

    async def __aenter__(self):
        self._task = asyncio.create_task(self._write(), name="writer")
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def _write(self):
        while True:
            rows = []
            with contextlib.suppress(TimeoutError):
                while len(rows) < 10:
                    rows.append(await asyncio.wait_for(self._rows.get(), 0.2))
            if rows:
                await self._store(rows)

    async def _store(self, rows):
        await asyncio.sleep(4)
        self.stored.extend(rows)
        for _ in rows:
            self._rows.task_done()

    def add(self, row):
        self._rows.put_nowait(row)

    async def close(self):
        await self._rows.join()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def main():
    async with Table() as table:
        for number in range(45):
            table.add({"number": number})
            await asyncio.sleep(0.002)
    print(len(table.stored), "rows")


if __name__ == "__main__":
    asyncio.run(main())
