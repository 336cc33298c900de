# expect: QUEUE_NO_CONSUMER
# names: Bridge.frames, encode, ZeroDivisionError
# line: 14
# A thread of a pool waits for room in the queue of a loop: the queue is called as the thread's frames call it.
import asyncio


class Bridge:
    def __init__(self, loop):
        self._loop = loop
        self.frames = asyncio.Queue(1)

    def push(self, frame):
        asyncio.run_coroutine_threadsafe(self.frames.put(frame), self._loop).result()


def camera(bridge):
    for frame in range(5):
        bridge.push(frame)


async def encode(bridge):
    while True:
        1 / (await bridge.frames.get())


async def main():
    bridge = Bridge(asyncio.get_running_loop())
    encoder = asyncio.create_task(encode(bridge), name="encode")
    await asyncio.to_thread(camera, bridge)
    await encoder


if __name__ == "__main__":
    asyncio.run(main())
