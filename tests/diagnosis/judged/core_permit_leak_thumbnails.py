# expect: PERMIT_LEAK
# names: make_thumbnail
# line: 33|52
# when: hang
# Jobs take a slot of the decoder's limiter by hand and return early for pictures that are small
# already, with the slot; when five such have passed, the batch stands.
import asyncio

from spanloom import FixedLimiter, async_map


class Decoder:
    def __init__(self, buffers):
        self.buffers = FixedLimiter(buffers, name="buffers")
        self.decoded = 0

    async def size_of(self, picture):
        await asyncio.sleep(0.005)
        return 64 if picture % 6 == 5 else 4_000

    async def decode(self, picture):
        await asyncio.sleep(0.01)
        self.decoded += 1
        return bytes(picture % 7)


class Gallery:
    def __init__(self, decoder):
        self.decoder = decoder
        self.thumbnails = {}

    async def make_thumbnail(self, picture):
        await self.decoder.buffers.acquire()
        if await self.decoder.size_of(picture) < 128:
            self.thumbnails[picture] = None
            return picture
        pixels = await self.decoder.decode(picture)
        self.thumbnails[picture] = pixels[:128]
        self.decoder.buffers.release()
        return picture


async def announce(gallery):
    while True:
        await asyncio.sleep(0.5)
        print(len(gallery.thumbnails), "thumbnails")


async def main():
    gallery = Gallery(Decoder(5))
    announcing = asyncio.create_task(announce(gallery), name="announce")
    done = await async_map(gallery.make_thumbnail, range(300), limit=12)
    print(len(done))
    announcing.cancel()


if __name__ == "__main__":
    asyncio.run(main())
