# expect: AWAIT_CYCLE
# names: a, b, c
# Three steps of a build depend on each other, through gather and a group; a ticker goes on.
import asyncio


class Build:
    def __init__(self):
        self.steps = {}

    async def step(self, *needs):
        await asyncio.sleep(0.01)
        await asyncio.gather(*(self.steps[need] for need in needs))


async def tick():
    while True:
        await asyncio.sleep(0.02)


async def main():
    build = Build()
    ticker = asyncio.create_task(tick())
    for name, needs in {"a": "b", "b": "c", "c": "a", "d": ""}.items():
        build.steps[name] = asyncio.create_task(build.step(*needs), name=name)
    await asyncio.wait([build.steps["a"]])
    ticker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
