# expect: QUEUE_NO_CONSUMER
# names: encoder|encode, frames, ZeroDivisionError
# line: 17|30
# when: hang
# A thread pushes frames into a bounded queue of the loop and waits for room; the encoder that should
# take them out has died.
import asyncio
import time


class Bridge:
    def __init__(self, loop):
        self._loop = loop
        self.frames = asyncio.Queue(8)

    def push(self, frame):
        asyncio.run_coroutine_threadsafe(self.frames.put(frame), self._loop).result()


def camera(bridge):
    for n in range(500):
        bridge.push(n)
        time.sleep(0.002)


async def encode(bridge):
    sizes = []
    while True:
        frame = await bridge.frames.get()
        sizes.append(1000 // (40 - frame))


async def main():
    bridge = Bridge(asyncio.get_running_loop())
    encoder = asyncio.create_task(encode(bridge), name="encoder")
    await asyncio.to_thread(camera, bridge)
    await encoder


if __name__ == "__main__":
    asyncio.run(main())
