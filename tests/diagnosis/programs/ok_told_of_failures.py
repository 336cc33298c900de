# expect: OK
# names: -
# line: -
# Tasks wait until something fails: the handlers of what nobody has caught will tell them.
import asyncio
import threading
import time


async def wait(event):
    await event.wait()


async def fails():
    await asyncio.sleep(60)
    raise ValueError("of a task that nobody waits for")


def dies():
    time.sleep(60)
    raise ValueError("of a thread")


async def main():
    failed, died = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: failed.set())
    threading.excepthook = lambda _: loop.call_soon_threadsafe(died.set)
    threading.Thread(target=dies, daemon=True).start()
    watching = [asyncio.create_task(wait(event), name=f"watch-{n}") for n, event in enumerate((failed, died))]
    working = asyncio.create_task(fails())
    await asyncio.wait([*watching])
    working.cancel()
