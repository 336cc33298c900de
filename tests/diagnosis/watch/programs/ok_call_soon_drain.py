# expect: OK
# names: -
# A callback works off a long deque item by item by call_soon; each item is small.
import asyncio
from collections import deque


class Worker:
    def __init__(self, loop, count):
        self.loop = loop
        self.todo = deque(range(count))
        self.done = loop.create_future()
        self.sum = 0
        loop.call_soon(self.one)

    def one(self):
        if not self.todo:
            self.done.set_result(self.sum)
            return
        self.sum += sum(range(self.todo.popleft() % 500))
        self.loop.call_soon(self.one)


async def main():
    print(await Worker(asyncio.get_running_loop(), 3_000_000).done)


asyncio.run(main())
