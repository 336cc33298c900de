# expect: OK
# names: -
# line: -
# Three scanners wait for room for a moment; a fourth is at work on what it will put: nobody waits for one stage alone.
import asyncio


async def scan(scans, pause_s):
    while True:
        await asyncio.sleep(pause_s)
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
        for pause_s in (0.0, 0.0, 0.0, 3_600.0):
            group.create_task(scan(scans, pause_s))


if __name__ == "__main__":
    asyncio.run(main())
