# expect: PIPELINE_BOTTLENECK
# names: recognise, scans
# line: 15
# Three scanners wait for the one who reads what they scan, and who writes the index has nothing to do.
import asyncio


async def scan(scans):
    while True:
        await scans.put(bytes(3))


async def recognise(scans, texts):
    while scan := await scans.get():
        await asyncio.sleep(0.8)
        await texts.put(scan.hex())


async def index(texts):
    while await texts.get():
        await asyncio.sleep(0.01)


async def main():
    scans, texts = asyncio.Queue(3), asyncio.Queue(3)
    async with asyncio.TaskGroup() as group:
        group.create_task(recognise(scans, texts))
        group.create_task(index(texts))
        for _ in range(3):
            group.create_task(scan(scans))


if __name__ == "__main__":
    asyncio.run(main())
