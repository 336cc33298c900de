# expect: LOST_EXCEPTION
# names: sweep-sessions|sweep, RuntimeError
# line: 21|34
# when: end
# The sweeper changed the dictionary it was walking through and died; the scheduler keeps its jobs in
# a weak set only, so that nobody can ask any more, and sessions are never swept again.
import asyncio
import weakref


class Scheduler:
    def __init__(self):
        self._jobs = weakref.WeakSet()

    def every(self, seconds, job, name):
        self._jobs.add(asyncio.get_running_loop().create_task(self._repeat(seconds, job), name=name))

    async def _repeat(self, seconds, job):
        while True:
            await asyncio.sleep(seconds)
            await job()


class Sessions:
    def __init__(self):
        self.ages = {}
        self.opened = 0

    async def open(self):
        self.opened += 1
        self.ages[f"session-{self.opened}"] = 0

    async def sweep(self):
        for name in self.ages:
            self.ages[name] += 1
            if self.ages[name] > 3:
                del self.ages[name]
                await asyncio.sleep(0)


class Site:
    def __init__(self):
        self.sessions = Sessions()
        self.scheduler = Scheduler()

    async def serve(self, visits):
        self.scheduler.every(0.2, self.sessions.sweep, name="sweep-sessions")
        self.scheduler.every(0.5, self.count, name="count-sessions")
        for _ in range(visits):
            await asyncio.sleep(0.05)
            await self.sessions.open()

    async def count(self):
        return len(self.sessions.ages)


async def main():
    await Site().serve(1_200)


if __name__ == "__main__":
    asyncio.run(main())
