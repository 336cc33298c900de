# expect: AWAIT_CYCLE
# names: build-api, build-models, build-schema
# line: 41
# when: hang
# Each target is one task that waits for those it depends on; api needs models, models needs
# schema, and since last week schema needs api.
import asyncio

DEPENDENCIES = {
    "app": ["api", "pages"],
    "pages": ["styles"],
    "styles": [],
    "api": ["models", "logging"],
    "models": ["schema"],
    "schema": ["logging", "api"],
    "logging": [],
}


class Builder:
    def __init__(self, dependencies):
        self.dependencies = dependencies
        self._builds = {}
        self.built = []

    def build(self, target):
        """Start the build of a target, once; everybody who needs it waits for the same task."""
        if target not in self._builds:
            self._builds[target] = asyncio.create_task(self._make(target), name=f"build-{target}")
        return self._builds[target]

    async def _make(self, target):
        await asyncio.sleep(0.01)
        await self._wait_for_dependencies(target)
        await self._compile(target)
        self.built.append(target)
        return target

    async def _wait_for_dependencies(self, target):
        for dependency in self.dependencies[target]:
            await self.build(dependency)

    async def _compile(self, target):
        await asyncio.sleep(0.02)


async def spinner(builder):
    while True:
        await asyncio.sleep(0.2)


async def main():
    builder = Builder(DEPENDENCIES)
    turning = asyncio.create_task(spinner(builder), name="spinner")
    await asyncio.gather(builder.build("app"), builder.build("pages"))
    print(builder.built)
    turning.cancel()


if __name__ == "__main__":
    asyncio.run(main())
