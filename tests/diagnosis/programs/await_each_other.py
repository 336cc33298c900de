# expect: AWAIT_CYCLE
# names: left, right
# Two tasks await each other.
import asyncio

tasks = {}


async def wait_for_other(name):
    await asyncio.sleep(0.01)
    await tasks[name]


async def main():
    tasks["left"] = asyncio.create_task(wait_for_other("right"), name="left")
    tasks["right"] = asyncio.create_task(wait_for_other("left"), name="right")
    await asyncio.wait(tasks.values())


if __name__ == "__main__":
    asyncio.run(main())
