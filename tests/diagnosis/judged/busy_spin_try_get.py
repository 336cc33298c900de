# expect: BUSY_SPIN
# names: mixer|mix|next_frame
# line: 34|38
# when: hang
# The mixer asks all its inputs by get_nowait() and yields with sleep(0) when none has a frame; since
# the microphones have ended, it turns with the loop and burns a core.
import asyncio


class Microphone:
    def __init__(self, name, frames):
        self.name = name
        self.frames = frames
        self.queue = asyncio.Queue(maxsize=16)

    async def record(self):
        for number in range(self.frames):
            await asyncio.sleep(0.01)
            await self.queue.put((self.name, number))


class Mixer:
    def __init__(self, microphones):
        self.microphones = microphones
        self.mixed = []

    async def next_frame(self):
        while True:
            for microphone in self.microphones:
                try:
                    return microphone.queue.get_nowait()
                except asyncio.QueueEmpty:
                    pass
            await asyncio.sleep(0)

    async def mix(self, frames):
        while len(self.mixed) < frames:
            frame = await self.next_frame()
            self.mixed.append(frame)


async def level_meter(mixer, levels):
    while True:
        await asyncio.sleep(0.2)
        levels.append(len(mixer.mixed))


async def main():
    microphones = [Microphone(name, frames) for name, frames in (("voice", 40), ("guitar", 30))]
    mixer = Mixer(microphones)
    meter = asyncio.create_task(level_meter(mixer, []), name="level-meter")
    async with asyncio.TaskGroup() as group:
        for microphone in microphones:
            group.create_task(microphone.record(), name=f"mic-{microphone.name}")
        group.create_task(mixer.mix(100), name="mixer")
    meter.cancel()


if __name__ == "__main__":
    asyncio.run(main())
