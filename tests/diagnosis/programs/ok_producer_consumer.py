# expect: OK
# A slow reader and a full queue.
import asyncio


async def produce(queue):
    for n in range(1000):
        await queue.put(n)


async def consume(queue):
    while True:
        await queue.get()
        await asyncio.sleep(0.03)
        queue.task_done()


async def main():
    queue = asyncio.Queue(4)
    reader = asyncio.create_task(consume(queue))
    await produce(queue)
    await queue.join()
    reader.cancel()


if __name__ == "__main__":
    asyncio.run(main())
