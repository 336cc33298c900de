# expect: BARRIER_SHORT
# names: fill-2|fill, ValueError
# line: 18
# A party has died; what has the barrier is also known to a task that only reads how far it is.
import asyncio


class Cell:
    def __init__(self):
        self.gate = asyncio.Barrier(3)
        self.parts = 0

    async def fill(self, n):
        await asyncio.sleep(0.02 * n)
        if n == 2:
            raise ValueError("no part 2")
        self.parts += 1
        await self.gate.wait()


async def report(cell):
    while True:
        _ = cell.parts, cell.gate.n_waiting
        await asyncio.sleep(0.05)


async def main():
    cell = Cell()
    monitor = asyncio.create_task(report(cell), name="report")
    tasks = [asyncio.create_task(cell.fill(n), name=f"fill-{n}") for n in range(3)]
    await asyncio.wait(tasks)
    monitor.cancel()


if __name__ == "__main__":
    asyncio.run(main())
