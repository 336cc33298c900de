# expect: OK
# names: -
import asyncio
import threading
import time

lock = threading.Lock()


def work():
    while True:
        with lock:
            time.sleep(0.05)
        time.sleep(0.01)


async def use():
    while True:
        with lock:
            pass
        await asyncio.sleep(0.02)


async def main():
    threading.Thread(target=work, daemon=True).start()
    await asyncio.gather(use(), use())


asyncio.run(main())
