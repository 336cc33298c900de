# expect: BARRIER_SHORT
# names: cell-4, ZeroDivisionError
# line: 17|23|33|37|38
# when: hang
# Six cells of a simulation meet after each step; one died of an empty cell in its third step, so
# five wait for six. Its error is kept for the end.
import asyncio


class Grid:
    def __init__(self, cells):
        self.masses = [10.0 - n for n in range(cells)]
        self._step_done = asyncio.Barrier(cells)
        self.steps = 0

    async def meet(self):
        async with self._step_done as position:
            if position == 0:
                self.steps += 1

    def advance(self, cell):
        self.masses[cell] -= 2.0 if cell == 4 else 0.1
        return 1.0 / self.masses[cell]


class Cell:
    def __init__(self, grid, number):
        self.grid, self.number = grid, number
        self.pressure = 0.0

    async def compute(self):
        await asyncio.sleep(0.01 + self.number * 0.005)
        self.pressure += self.grid.advance(self.number)

    async def live(self, steps):
        for _ in range(steps):
            await self.compute()
            await self.grid.meet()
        return self.pressure


async def draw(grid):
    while grid.steps < 50:
        await asyncio.sleep(0.1)


async def main():
    grid = Grid(6)
    drawing = asyncio.create_task(draw(grid), name="draw")
    cells = [asyncio.create_task(Cell(grid, number).live(50), name=f"cell-{number}") for number in range(6)]
    done, _ = await asyncio.wait([*cells, drawing])
    for cell in cells:
        print(cell.result())
    print(len(done))


if __name__ == "__main__":
    asyncio.run(main())
