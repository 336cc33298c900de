# expect: LOCK_ABANDONED
# names: lock, open-routes|open_table
# line: 26|39
# when: hang
# The loader hands its open table, with the lock in it, to a caller that drops it without closing;
# the task that took the lock has ended.
import asyncio
import contextlib


class Table:
    def __init__(self, name):
        self.name = name
        self.lock = asyncio.Lock()
        self.rows = {}


class Handle:
    def __init__(self, table, closing):
        self.rows = table.rows
        self.close = closing.aclose


async def open_table(table):
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(table.lock)
        await asyncio.sleep(0.05)
        return Handle(table, stack.pop_all())


async def count_rows(table):
    opening = asyncio.create_task(open_table(table), name=f"open-{table.name}")
    handle = await opening
    return len(handle.rows)


async def edit(table, n):
    await asyncio.sleep(0.2)
    async with table.lock:
        table.rows[n] = n


async def main():
    tables = [Table("routes")]
    print(await asyncio.gather(*map(count_rows, tables)))
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(edit(tables[0], n), name=f"edit-{n}")


if __name__ == "__main__":
    asyncio.run(main())
