# expect: SELF_RELOCK
# names: job
# The lock of a condition is taken twice.
import asyncio


async def inner(condition):
    async with condition:
        condition.notify_all()


async def outer(condition):
    async with condition:
        await inner(condition)


async def main():
    await asyncio.wait([asyncio.create_task(outer(asyncio.Condition()), name="job")])


if __name__ == "__main__":
    asyncio.run(main())
