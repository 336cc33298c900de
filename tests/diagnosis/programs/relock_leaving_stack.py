# expect: SELF_RELOCK|LOCK_CYCLE
# names: deploy, release_lock
# line: 18|30
# The stack is being left: it waits for the tasks of its group, and will release the lock only after that.
import asyncio
import contextlib


class Deployment:
    def __init__(self):
        self.release_lock = asyncio.Lock()
        self.log = []

    async def other(self):
        await asyncio.sleep(0.01)

    async def note(self, text):
        async with self.release_lock:
            self.log.append(text)

    async def step(self, name):
        await asyncio.sleep(0.02)
        await self.note(name)

    async def deploy(self):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.release_lock)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            group.create_task(self.step("migrate"), name="migrate")
            group.create_task(self.other(), name="other")


async def main():
    await asyncio.create_task(Deployment().deploy(), name="deploy")


if __name__ == "__main__":
    asyncio.run(main())
