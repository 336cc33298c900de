# expect: CANCEL_SWALLOWED
# names: tail_log
# line: 20
# when: hang
# The program's end hangs: asyncio.run cancels a task that reads on.
import asyncio


class Tail:
    def __init__(self):
        self.lines = 0

    async def read_line(self):
        await asyncio.sleep(0.1)
        self.lines += 1

    async def tail_log(self):
        while self.lines < 100_000:
            try:
                await self.read_line()
            except asyncio.CancelledError:
                print("not now")
            except Exception:
                raise


async def main():
    tail = Tail()
    task = asyncio.create_task(tail.tail_log())
    await asyncio.sleep(0.5)
    return task


asyncio.run(main())
