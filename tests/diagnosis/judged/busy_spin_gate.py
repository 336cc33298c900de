# expect: BUSY_SPIN
# names: check
# line: 14
# when: hang
# call_later with no delay until an attribute changes.
import asyncio


class Gate:
    def __init__(self):
        self.is_open = False

    def check(self, loop, future):
        if not self.is_open:
            loop.call_later(0, self.check, loop, future)
        else:
            future.set_result(None)


async def main():
    loop = asyncio.get_running_loop()
    gate = Gate()
    future = loop.create_future()
    loop.call_soon(gate.check, loop, future)
    loop.call_later(300, setattr, gate, "is_open", True)
    await future


asyncio.run(main())
