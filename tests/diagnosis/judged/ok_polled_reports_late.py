# expect: OK
# names: -
# line: -
# when: hang
# The collectors report what they have taken only when they come to write a whole batch of it, every two seconds and a
# half, and one of them leaves that to a timer: between the two nothing is queued, and much not reported.
import asyncio


async def collect_batch(samples, written):
    taken = []
    while True:
        try:
            taken.append(await asyncio.wait_for(samples.get(), 2.5))
        except TimeoutError:
            written.extend(taken)
            for _ in taken:
                samples.task_done()
            taken.clear()


async def collect_later(samples, written):
    loop = asyncio.get_running_loop()
    while True:
        try:
            sample = samples.get_nowait()
        except asyncio.QueueEmpty:
            await asyncio.sleep(0.05)
            continue
        if sample < 0:
            continue
        written.append(sample)
        loop.call_later(2.2, samples.task_done)


async def collect_again(samples, written):
    delayed = []
    while True:
        sample = delayed.pop() if delayed else None
        if sample is None:
            try:
                sample = await asyncio.wait_for(samples.get(), 0.2)
            except TimeoutError:
                continue
            delayed.append(sample)
            await asyncio.sleep(0.4)
            continue
        written.append(sample)
        samples.task_done()


async def main():
    collectors = (collect_batch, collect_later, collect_again)
    lines = [asyncio.Queue() for _ in collectors]
    written = [[] for _ in collectors]
    tasks = [asyncio.create_task(work(*each)) for work, *each in zip(collectors, lines, written, strict=True)]
    for number in range(1000):
        for line in lines:
            for sample in range(4):
                line.put_nowait(number * 4 + sample)
        await asyncio.gather(*(line.join() for line in lines))
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
