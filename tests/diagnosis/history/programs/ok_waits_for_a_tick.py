# expect: OK
# names: -
# line: -
# when: end
# Each request makes a task that waits for the next tick of a clock; a tick each seven seconds ends
# them all.
import asyncio


class Clock:
    def __init__(self):
        self.tick = asyncio.Event()

    async def run(self):
        for _ in range(3):
            await asyncio.sleep(7)
            self.tick.set()
            self.tick = asyncio.Event()


async def main():
    clock = Clock()
    running = asyncio.create_task(clock.run(), name="clock")
    waits = []
    while not running.done():
        waits.append(asyncio.create_task(clock.tick.wait()))
        waits = [wait for wait in waits if not wait.done()]
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main())
