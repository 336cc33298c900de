# expect: TASK_LEAK
# names: keep_alive
# line: 16|20
# when: end
# A keep-alive that sleeps half a minute at a time, and not for ever, outlives the connection that has started it.
import asyncio


class Connection:
    def __init__(self, tasks):
        self.tasks = tasks
        self.missed = 0

    async def keep_alive(self):
        while self.missed < 1_000:
            await asyncio.sleep(30)
            self.missed += 1

    async def serve(self):
        self.tasks.append(asyncio.create_task(self.keep_alive()))
        await asyncio.sleep(0.01)


async def main():
    tasks = []
    for _ in range(1_500):
        await Connection(tasks).serve()
        await asyncio.sleep(0.03)


asyncio.run(main())
