# expect: OK
# The last party of a barrier comes late; a task beside only reads how many wait.
import asyncio


class Cell:
    def __init__(self):
        self.gate = asyncio.Barrier(3)

    async def fill(self, n):
        await asyncio.sleep(2 if n == 2 else 0.01)
        async with self.gate:
            pass


async def report(cell):
    while True:
        _ = cell.gate.n_waiting
        await asyncio.sleep(0.05)


async def main():
    cell = Cell()
    monitor = asyncio.create_task(report(cell), name="report")
    await asyncio.gather(*(cell.fill(n) for n in range(3)))
    monitor.cancel()


if __name__ == "__main__":
    asyncio.run(main())
