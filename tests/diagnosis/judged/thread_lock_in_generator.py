# expect: THREAD_LOCK_ACROSS_AWAIT
# names: export-orders|export, export-stock|export
# line: 21|41|47|48
# when: hang
# A context manager of the synchronous kind takes a thread lock for a whole export, which awaits; the
# second export waits for it in the loop's own thread.
import asyncio
import contextlib
import threading


class Printer:
    """One sheet of paper after the other, from threads and tasks alike."""

    def __init__(self):
        self._paper = threading.Lock()
        self.lines = []

    @contextlib.contextmanager
    def sheet(self, title):
        self._paper.acquire()
        try:
            self.lines.append(f"-- {title} --")
            yield self.lines.append
        finally:
            self._paper.release()


async def rows_of(table, count):
    for number in range(count):
        await asyncio.sleep(0.01)
        yield f"{table} {number}"


class Export:
    def __init__(self, printer, table):
        self.printer, self.table = printer, table
        self.rows = 0

    async def _write(self, write):
        async for row in rows_of(self.table, 40):
            write(row)
            self.rows += 1

    async def export(self):
        with contextlib.ExitStack() as stack:
            write = stack.enter_context(self.printer.sheet(self.table))
            await self._write(write)
        return self.rows


async def keep_alive(counter):
    while True:
        await asyncio.sleep(0.05)
        counter.append(1)


async def main():
    printer = Printer()
    alive = asyncio.create_task(keep_alive([]), name="keep-alive")
    exports = []
    for table in ("orders", "stock"):
        exports.append(asyncio.create_task(Export(printer, table).export(), name=f"export-{table}"))
        await asyncio.sleep(0.1)
    print(await asyncio.gather(*exports))
    alive.cancel()


if __name__ == "__main__":
    asyncio.run(main())
