# expect: BUSY_SPIN
# names: _pump
# An actor pumps its mailbox by functools.partial and call_soon, also when the mailbox is empty.
import asyncio
from collections import deque
from functools import partial


class Actor:
    def __init__(self, name):
        self.name = name
        self.mailbox = deque()
        self.loop = asyncio.get_running_loop()
        self.seen = 0
        self.loop.call_soon(partial(self._pump, 10))

    def _pump(self, most):
        for _ in range(most):
            if not self.mailbox:
                break
            self.mailbox.popleft()
            self.seen += 1
        self.loop.call_soon(partial(self._pump, most))  # here


async def main():
    actors = [Actor("a"), Actor("b")]
    while True:
        await asyncio.sleep(0.5)
        for actor in actors:
            actor.mailbox.append("tick")


asyncio.run(main())
