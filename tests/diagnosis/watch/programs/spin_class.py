# expect: BUSY_SPIN
# names: Gate.wait|gate, guard|Gate
import asyncio


class Gate:
    def __init__(self):
        self.open = False
        self.tries = 0

    async def wait(self):
        while not self.open:
            self.tries += 1
            await self._turn()  # here

    async def _turn(self):
        await asyncio.sleep(0)  # here


async def main():
    gate = Gate()
    async with asyncio.TaskGroup() as g:
        g.create_task(gate.wait(), name="guard")
        g.create_task(asyncio.sleep(300))


asyncio.run(main())
