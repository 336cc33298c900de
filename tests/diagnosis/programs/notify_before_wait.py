# expect: LOST_NOTIFY
# names: consumer
# The notify came before anybody waited.
import asyncio


async def producer(condition):
    async with condition:
        condition.notify()


async def consumer(condition):
    await asyncio.sleep(0.02)
    async with condition:
        await condition.wait()


async def main():
    condition = asyncio.Condition()
    await asyncio.gather(
        asyncio.create_task(producer(condition), name="producer"),
        asyncio.create_task(consumer(condition), name="consumer"),
    )


if __name__ == "__main__":
    asyncio.run(main())
