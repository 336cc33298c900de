# expect: PIPELINE_BOTTLENECK
# names: encode|encoder
# line: 24
# when: slow
# Cameras fill a queue; the one encoder uses a thread for a quarter of a second per frame.
import asyncio
import time


def compress(frame):
    time.sleep(0.25)
    return frame


async def camera(frames, number):
    for frame in range(100):
        await asyncio.sleep(0.01)
        await frames.put((number, frame))


async def encoder(frames):
    while True:
        frame = await frames.get()
        await asyncio.to_thread(compress, frame)
        frames.task_done()


async def main():
    frames = asyncio.Queue(maxsize=6)
    encoding = asyncio.create_task(encoder(frames), name="encoder")
    await asyncio.gather(*(asyncio.create_task(camera(frames, n), name=f"camera-{n}") for n in range(5)))
    await frames.join()
    encoding.cancel()


asyncio.run(main())
