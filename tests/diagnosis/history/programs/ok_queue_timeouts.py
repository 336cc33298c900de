# expect: OK
# names: -
# line: -
# when: end
# Workers look for work with a time limit, twenty times a second, as many do.
import asyncio


async def worker(queue, stop):
    done = 0
    while not stop.is_set():
        try:
            done += await asyncio.wait_for(queue.get(), 0.05)
        except asyncio.TimeoutError:
            continue
    return done


async def main():
    queue, stop = asyncio.Queue(), asyncio.Event()
    workers = [asyncio.create_task(worker(queue, stop), name=f"worker-{n}") for n in range(3)]
    for n in range(60):
        queue.put_nowait(n)
        await asyncio.sleep(0.2)
    stop.set()
    print(await asyncio.gather(*workers))


asyncio.run(main())
