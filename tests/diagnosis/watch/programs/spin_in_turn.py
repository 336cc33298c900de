# expect: BUSY_SPIN
# names: mixer
# Two sources are asked in turn, each with a timeout of zero; none has anything, and the misses are counted.
import asyncio


class Source:
    def __init__(self):
        self.playing = asyncio.Event()

    async def frame(self):
        await self.playing.wait()
        return b"\0" * 64


class Mixer:
    def __init__(self):
        self.sources = [Source(), Source()]
        self.frames = self.missed = 0

    async def next_frame(self, source):
        try:
            return await asyncio.wait_for(source.frame(), 0)  # here
        except TimeoutError:
            self.missed += 1
            return None

    async def mix(self):
        while True:
            for source in self.sources:
                if await self.next_frame(source):
                    self.frames += 1


async def main():
    await asyncio.create_task(Mixer().mix(), name="mixer")


if __name__ == "__main__":
    asyncio.run(main())
