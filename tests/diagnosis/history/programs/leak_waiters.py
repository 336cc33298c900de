# expect: TASK_LEAK
# names: on_change
# line: 15|19
# when: end
# Each turn registers a waiter for an event that comes once a day.
import asyncio


class Config:
    def __init__(self):
        self.changed = asyncio.Event()
        self.waiters = set()

    async def on_change(self, n):
        await self.changed.wait()
        return n

    def subscribe(self, n):
        task = asyncio.ensure_future(self.on_change(n))
        self.waiters.add(task)
        task.add_done_callback(self.waiters.discard)


async def main():
    config = Config()
    asyncio.get_running_loop().call_later(86_400, config.changed.set)
    for n in range(6_000):
        config.subscribe(n)
        await asyncio.sleep(0.01)


asyncio.run(main())
