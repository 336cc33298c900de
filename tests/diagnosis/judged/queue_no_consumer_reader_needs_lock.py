# expect: QUEUE_NO_CONSUMER|LOCK_CYCLE
# names: worker, out, reader, lock
# line: 14|21
# when: hang
# Workers hold a lock while they put; the reader needs it.
import asyncio


async def worker(n, lock, out):
    while True:
        await asyncio.sleep(0.01)
        async with lock:
            for k in range(3):
                await out.put((n, k))


async def reader(lock, out, seen):
    while True:
        item = await out.get()
        await asyncio.sleep(0.02)
        async with lock:
            seen.append(item)


async def main():
    lock = asyncio.Lock()
    out = asyncio.Queue(2)
    seen = []
    ws = [asyncio.create_task(worker(n, lock, out), name=f"worker-{n}") for n in range(3)]
    r = asyncio.create_task(reader(lock, out, seen), name="reader")
    while not r.done() or ws:
        await asyncio.sleep(0.5)


asyncio.run(main())
