# expect: BUSY_SPIN
# names: poller|poll
import asyncio


async def poll(q):
    polls = 0
    while True:
        try:
            item = q.get_nowait()
        except asyncio.QueueEmpty:
            polls += 1
            await asyncio.sleep(0)  # here
            continue
        print(item)


async def beat(s):
    while True:
        s.append(1)
        await asyncio.sleep(0.02)


async def main():
    q = asyncio.Queue()
    s = []
    await asyncio.gather(asyncio.create_task(poll(q), name="poller"), beat(s), beat(s))


asyncio.run(main())
