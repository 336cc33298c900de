# expect: AWAIT_CYCLE
# names: watch_disk|disk-watch
# line: 39
# when: hang
# The disk watch stops the whole service when space runs out, and stop() waits for all tasks of the
# service, the disk watch among them: it waits for itself.
import asyncio


class Service:
    def __init__(self):
        self.tasks = set()
        self.stopping = False
        self.handled = 0

    def spawn(self, coro, name):
        task = asyncio.create_task(coro, name=name)
        self.tasks.add(task)
        return task

    async def accept(self):
        while not self.stopping:
            await asyncio.sleep(0.02)
            self.spawn(self.handle(), name=f"request-{self.handled}")

    async def handle(self):
        await asyncio.sleep(0.03)
        self.handled += 1

    async def watch_disk(self, free):
        while free > 10:
            await asyncio.sleep(0.05)
            free -= 7
        await self.stop("disk full")

    async def stop(self, reason):
        print("stopping:", reason)
        self.stopping = True
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        print(len(results), "tasks ended")


async def main():
    service = Service()
    service.spawn(service.accept(), name="accept")
    watch = service.spawn(service.watch_disk(60), name="disk-watch")
    await watch


if __name__ == "__main__":
    asyncio.run(main())
