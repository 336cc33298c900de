# expect: OK
# names: -
# line: -
# when: end
# Targets await the shared tasks of those that they depend on; there is no ring, only a chain that
# takes its time.
import asyncio

DEPENDENCIES = {
    "app": ["api", "pages"],
    "pages": ["styles", "schema"],
    "styles": [],
    "api": ["models", "logging"],
    "models": ["schema"],
    "schema": ["logging"],
    "logging": [],
}


class Builder:
    def __init__(self):
        self._builds = {}
        self.built = []

    def build(self, target):
        if target not in self._builds:
            self._builds[target] = asyncio.create_task(self._make(target), name=f"build-{target}")
        return self._builds[target]

    async def _make(self, target):
        for dependency in DEPENDENCIES[target]:
            await asyncio.shield(self.build(dependency))
        await asyncio.sleep(4)
        self.built.append(target)


async def main():
    builder = Builder()
    await asyncio.gather(builder.build("app"), builder.build("pages"))
    print(builder.built)


if __name__ == "__main__":
    asyncio.run(main())
