# expect: OK
# The events belong to objects that a living one knows only weakly; it sets them, with much to do in between.
import asyncio
import weakref


class Job:
    def __init__(self):
        self.done = asyncio.Event()


class Desk:
    def __init__(self):
        self.jobs = weakref.WeakValueDictionary()

    def close(self, number):
        job = self.jobs.get(number)
        if job is not None:
            job.done.set()

    async def work(self):
        for _ in range(400):
            for _ in range(20):
                sum(range(8_000))
            await asyncio.sleep(0.001)
        for number in range(3):
            self.close(number)


async def ask(desk, number):
    job = Job()
    desk.jobs[number] = job
    await job.done.wait()


async def main():
    desk = Desk()
    await asyncio.gather(desk.work(), *(ask(desk, number) for number in range(3)))


if __name__ == "__main__":
    asyncio.run(main())
