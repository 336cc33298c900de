# expect: TASK_LEAK
# names: confirm
# line: 18|14
# when: end
# For each order a task waits for a confirmation of its own, whose event is dropped at once.
import asyncio


class Shop:
    def __init__(self):
        self.open = set()

    async def confirm(self, number, confirmed):
        await confirmed.wait()
        print(number)

    def order(self, number):
        task = asyncio.create_task(self.confirm(number, asyncio.Event()), name=f"confirm-{number}")
        self.open.add(task)
        task.add_done_callback(self.open.discard)


async def main():
    shop = Shop()
    for number in range(10_000):
        shop.order(number)
        await asyncio.sleep(0.02)


asyncio.run(main())
