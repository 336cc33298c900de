# expect: LOOP_BLOCKED
# names: scan
import asyncio
import threading
import time


class Scan:
    def read(self):
        time.sleep(100)  # here

    async def run(self):
        await asyncio.sleep(0.1)
        self.read()


async def tick():
    while True:
        await asyncio.sleep(0.05)


async def back():
    await asyncio.gather(tick(), asyncio.create_task(Scan().run(), name="scan"))


for _ in range(3):
    asyncio.run(asyncio.sleep(0.05))
t = threading.Thread(target=lambda: asyncio.run(back()), name="bg")
t.start()
asyncio.run(tick())
