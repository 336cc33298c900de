# expect: LOST_NOTIFY
# names: visitor-5|visit
# line: 24|34
# when: hang
# The window notifies when it opens; the visitor who comes a moment later does not look whether it is
# open, and waits for a notify that has passed.
import asyncio


class Window:
    def __init__(self):
        self.opened = asyncio.Condition()
        self.is_open = False
        self.sold = 0

    async def open(self):
        await asyncio.sleep(0.3)
        async with self.opened:
            self.is_open = True
            self.opened.notify_all()

    async def wait_until_open(self):
        async with self.opened:
            await self.opened.wait()

    async def sell(self):
        await asyncio.sleep(0.01)
        self.sold += 1
        return self.sold


async def visit(window, way):
    await asyncio.sleep(way)
    await window.wait_until_open()
    return await window.sell()


async def street_music(notes):
    while True:
        await asyncio.sleep(0.15)
        notes.append("la")


async def main():
    window = Window()
    music = asyncio.create_task(street_music([]), name="music")
    opening = asyncio.create_task(window.open(), name="opening")
    visitors = [asyncio.create_task(visit(window, 0.05 + n * 0.06), name=f"visitor-{n}") for n in range(6)]
    await asyncio.wait([opening])
    tickets = await asyncio.gather(*visitors)
    print(max(tickets), "tickets")
    music.cancel()


if __name__ == "__main__":
    asyncio.run(main())
