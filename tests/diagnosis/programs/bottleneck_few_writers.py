# expect: PIPELINE_BOTTLENECK
# names: encode
# line: 14
# Four cameras wait for the one task that takes their pictures.
import asyncio


async def camera(pictures):
    while True:
        await pictures.put(bytes(3))


async def encode(pictures):
    while await pictures.get():
        await asyncio.sleep(0.8)


async def main():
    pictures = asyncio.Queue(3)
    async with asyncio.TaskGroup() as group:
        group.create_task(encode(pictures))
        for _ in range(4):
            group.create_task(camera(pictures))


if __name__ == "__main__":
    asyncio.run(main())
