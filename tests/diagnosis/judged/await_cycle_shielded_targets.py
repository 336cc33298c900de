# expect: AWAIT_CYCLE
# names: libssl, libcrypto, config
# line: 24
# when: hang
# Three targets of a build need each other in a circle; a fourth only queues behind them, others were
# built.
import asyncio


class Build:
    def __init__(self, needs):
        self.needs = needs
        self.tasks = {}
        self.built = []

    def start(self):
        for target in self.needs:
            self.tasks[target] = asyncio.create_task(self.make(target), name=target)
        return self.tasks.values()

    async def make(self, target):
        await asyncio.sleep(0.02)
        needed = [asyncio.shield(self.tasks[name]) for name in self.needs[target]]
        await asyncio.gather(*needed)
        self.built.append(target)


async def main():
    build = Build(
        {
            "zlib": [],
            "app": ["libssl", "docs"],
            "libssl": ["libcrypto", "zlib"],
            "docs": ["zlib"],
            "libcrypto": ["config"],
            "config": ["zlib", "libssl"],
        }
    )
    await asyncio.gather(*build.start())
    print(build.built)


if __name__ == "__main__":
    asyncio.run(main())
