# expect: SYNC_WAIT_ON_OWN_LOOP
# names: waiter|wait_ready, warm_up
import asyncio
import threading


class Cache:
    def __init__(self):
        self.ready = threading.Event()

    async def warm_up(self):
        await asyncio.sleep(0.5)
        self.ready.set()

    def wait_ready(self):
        self.ready.wait()  # here


async def main():
    c = Cache()
    t = asyncio.create_task(c.warm_up())
    await asyncio.sleep(0.1)
    await asyncio.create_task(use(c), name="waiter")


async def use(c):
    c.wait_ready()


asyncio.run(main())
