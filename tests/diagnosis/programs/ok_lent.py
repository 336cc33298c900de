# expect: OK
# Permits are taken and given back by methods, by turns and by hand-over, and all of it moves.
import asyncio


class Window:
    def __init__(self, size):
        self._room = asyncio.Semaphore(size)
        self._open = 0

    async def add(self):
        await self._room.acquire()
        self._open += 1

    def acknowledge(self):
        if self._open:
            self._open -= 1
            self._room.release()


async def send(window, n):
    await window.add()
    await asyncio.sleep(0.05)
    await window.add()


async def acknowledge(window):
    while True:
        await asyncio.sleep(0.1)
        window.acknowledge()


async def main():
    window = Window(2)
    acknowledging = asyncio.create_task(acknowledge(window))
    await asyncio.gather(*(send(window, n) for n in range(20)))
    acknowledging.cancel()


if __name__ == "__main__":
    asyncio.run(main())
