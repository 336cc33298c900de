# expect: JOIN_WITHOUT_TASK_DONE
# names: _rows|rows, _write|writer
# line: 42|50
# when: hang
# A writer takes rows for as long as some come within a fifth of a second, and writes what it has; it never says
# task_done(), and leaving the block waits for the queue before it stops the writer.
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
        await asyncio.sleep(0.01)
        self.stored.extend(rows)

    def add(self, row):
        self._rows.put_nowait(row)

    async def close(self):
        await self._rows.join()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def main():
    async with Table() as table:
        for number in range(25):
            table.add({"number": number})
            await asyncio.sleep(0.002)
    print(len(table.stored), "rows")


if __name__ == "__main__":
    asyncio.run(main())
