# expect: SYNC_WAIT_ON_OWN_LOOP
# names: export, fetch_rows
import asyncio
import threading


async def fetch_rows(n):
    await asyncio.sleep(0)
    return n


class Worker(threading.Thread):
    def __init__(self, loop):
        super().__init__(daemon=True, name="exporter")
        self.loop = loop

    def run(self):
        f = asyncio.run_coroutine_threadsafe(fetch_rows(1), self.loop)
        self.out = f.result()  # here


async def export():
    await asyncio.sleep(0.1)
    w = Worker(asyncio.get_running_loop())
    w.start()
    w.join()  # here


async def other():
    while True:
        await asyncio.sleep(0.1)


async def main():
    await asyncio.gather(other(), asyncio.create_task(export(), name="export"))


asyncio.run(main())
