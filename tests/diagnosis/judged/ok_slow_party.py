# expect: OK
# names: -
# line: -
# when: end
# Five of six runners wait at the barrier; the sixth has a long way, by way of a child process, and
# will come.
import asyncio
import sys


class Race:
    def __init__(self, runners):
        self.start = asyncio.Barrier(runners)
        self.finished = []

    async def come_to_start(self, runner):
        if runner != 5:
            await asyncio.sleep(0.05 * runner)
            return
        train = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(14)")
        await train.wait()

    async def run(self, runner):
        await self.come_to_start(runner)
        async with self.start:
            await asyncio.sleep(1 + 0.1 * runner)
            self.finished.append(runner)


async def main():
    race = Race(6)
    async with asyncio.TaskGroup() as group:
        for runner in range(6):
            group.create_task(race.run(runner), name=f"runner-{runner}")
    print(race.finished)


if __name__ == "__main__":
    asyncio.run(main())
