# expect: ORPHAN_FUTURE
# names: reply-2
# A helper hands the future out, and a bug forgets one of them.
import asyncio


class Bus:
    def __init__(self):
        self.waiters = []

    def subscribe(self, n):
        waiter = asyncio.get_running_loop().create_future()
        if n != 2:
            self.waiters.append(waiter)
        return waiter

    async def publish(self):
        await asyncio.sleep(0.02)
        for waiter in self.waiters:
            waiter.set_result(None)


async def one(bus, n):
    await bus.subscribe(n)


async def main():
    bus = Bus()
    async with asyncio.TaskGroup() as group:
        for n in range(4):
            group.create_task(one(bus, n), name=f"reply-{n}")
        group.create_task(bus.publish())


if __name__ == "__main__":
    asyncio.run(main())
