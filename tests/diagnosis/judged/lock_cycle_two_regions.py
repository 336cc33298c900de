# expect: LOCK_CYCLE
# names: book, mirror
# line: 26|29
# when: hang
# Two regions, each a loop in a thread of its own: each books under its ledger's lock and waits for
# the other to mirror the booking, which needs the other's lock.
import asyncio
import threading


class Region:
    def __init__(self, name):
        self.name = name
        self.total = 0
        self.loop = asyncio.new_event_loop()
        self.ledger = asyncio.Lock()
        threading.Thread(target=self.loop.run_forever, name=f"region-{name}", daemon=True).start()

    def call(self, coroutine):
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    async def book(self, amount, peer):
        async with self.ledger:
            await asyncio.sleep(0.1)
            self.total += amount
            await peer.call(peer.mirror(amount))

    async def mirror(self, amount):
        async with self.ledger:
            self.total += amount


async def clock():
    while True:
        await asyncio.sleep(0.1)


async def main():
    north, south = Region("north"), Region("south")
    beat = asyncio.create_task(clock(), name="clock")
    await asyncio.gather(
        north.call(north.book(5, south)),
        south.call(south.book(7, north)),
    )
    beat.cancel()


if __name__ == "__main__":
    asyncio.run(main())
