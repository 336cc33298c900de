# expect: BUSY_SPIN
# names: wait_for_mail
import asyncio
import random


class Box:
    def __init__(self):
        self.letters = []
        self.tries = 0

    async def wait_for_mail(self):
        while not self.letters:
            self.tries += 1
            await asyncio.sleep(0)  # here
        return self.letters.pop()


async def sort_all(box):
    while True:
        await asyncio.sleep(0.1)
        sorted(random.random() for _ in range(3_000))


async def main():
    box = Box()
    asyncio.get_running_loop().call_later(3_600, box.letters.append, "late")
    await asyncio.gather(box.wait_for_mail(), sort_all(box))


asyncio.run(main())
