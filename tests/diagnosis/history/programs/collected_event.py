# expect: TASK_COLLECTED
# names: notify
# line: 16|24
# when: end
# Garbage collection by itself, in a program that makes many objects, takes the notifier away.
import asyncio


class Order:
    def __init__(self, n):
        self.n = n
        self.paid = asyncio.Event()
        self.me = self

    async def notify(self):
        await self.paid.wait()
        print("paid", self.n)


async def main():
    orders = []
    for n in range(3):
        loop = asyncio.get_running_loop()
        loop.create_task(Order(n).notify(), name=f"notify-{n}") if False else loop.create_task(
            Order(n).notify()
        )
    while True:
        orders.append([{"n": n} for n in range(2_000)])
        if len(orders) > 40:
            orders.clear()
        await asyncio.sleep(0.01)


asyncio.run(main())
