# expect: SELF_RELOCK|LOCK_CYCLE
# names: deploy, release_lock
# line: 18|24|31
# when: hang
# The deployment takes the release lock on an exit stack and has its steps done by child tasks, one of which takes the
# lock again.
import asyncio
import contextlib


class Deployment:
    def __init__(self, steps):
        self.release_lock = asyncio.Lock()
        self.steps = steps
        self.log = []

    async def note(self, text):
        async with self.release_lock:
            self.log.append(text)

    async def step(self, name):
        await asyncio.sleep(0.02)
        if name == "migrate":
            await self.note(name)

    async def deploy(self):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.release_lock)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            for name in self.steps:
                group.create_task(self.step(name), name=f"step-{name}")


async def main():
    await asyncio.create_task(Deployment(["build", "migrate", "restart"]).deploy(), name="deploy")


if __name__ == "__main__":
    asyncio.run(main())
