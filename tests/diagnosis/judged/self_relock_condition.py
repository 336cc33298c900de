# expect: SELF_RELOCK
# names: deploy-42|advance, _changed
# line: 25
# when: hang
# advance() holds the condition's lock and, on the way to the audit log, calls describe(), which
# enters the same condition again.
import asyncio
import enum


class State(enum.Enum):
    QUEUED = 1
    RUNNING = 2
    DONE = 3


class Deployment:
    def __init__(self, number, audit):
        self.number = number
        self.state = State.QUEUED
        self._changed = asyncio.Condition()
        self._audit = audit

    async def describe(self):
        async with self._changed:
            return f"deployment {self.number} is {self.state.name.lower()}"

    async def advance(self, state):
        async with self._changed:
            self.state = state
            if state is State.RUNNING:
                await self._record()
            self._changed.notify_all()

    async def _record(self):
        await asyncio.sleep(0.02)
        await self._audit.append(self)

    async def wait_until(self, state):
        async with self._changed:
            await self._changed.wait_for(lambda: self.state is state)


class Audit:
    def __init__(self):
        self.lines = []

    async def append(self, deployment):
        self.lines.append(await deployment.describe())


async def deploy(deployment):
    for state in (State.RUNNING, State.DONE):
        await asyncio.sleep(0.1)
        await deployment.advance(state)


async def main():
    deployment = Deployment(42, Audit())
    watchers = [
        asyncio.create_task(deployment.wait_until(state), name=f"page-{state.name.lower()}")
        for state in (State.RUNNING, State.DONE)
    ]
    await asyncio.create_task(deploy(deployment), name="deploy-42")
    await asyncio.gather(*watchers)


if __name__ == "__main__":
    asyncio.run(main())
