# expect: QUEUE_NO_CONSUMER
# names: lines, writer|consume
# The reader stopped after ten lines, without an error.
import asyncio


async def consume(lines):
    for _ in range(10):
        await lines.get()


async def produce(lines):
    for n in range(50):
        await lines.put(n)


async def main():
    lines = asyncio.Queue(3)
    writer = asyncio.create_task(consume(lines), name="writer")
    await asyncio.create_task(produce(lines), name="produce-lines")
    await writer


if __name__ == "__main__":
    asyncio.run(main())
