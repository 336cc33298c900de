# expect: BUSY_SPIN
# names: mixer|mix|next_frame
# line: 26|34
# when: hang
# The mixer looks for a frame with a timeout of zero and tries again at once; with no source playing it never rests.
import asyncio


class Source:
    def __init__(self):
        self.playing = asyncio.Event()

    async def frame(self):
        await self.playing.wait()
        return b"\0" * 64


class Mixer:
    def __init__(self, sources, patience=0):
        self.sources, self.patience = sources, patience
        self.frames = 0
        self.missed = 0

    async def next_frame(self, source):
        try:
            return await asyncio.wait_for(source.frame(), self.patience)
        except TimeoutError:
            self.missed += 1
            return None

    async def mix(self):
        while True:
            for source in self.sources:
                if await self.next_frame(source):
                    self.frames += 1


async def meter(mixer):
    while mixer.frames < 100:
        await asyncio.sleep(0.2)


async def main():
    mixer = Mixer([Source(), Source()])
    mixing = asyncio.create_task(mixer.mix(), name="mixer")
    await asyncio.create_task(meter(mixer), name="meter")
    mixing.cancel()


if __name__ == "__main__":
    asyncio.run(main())
