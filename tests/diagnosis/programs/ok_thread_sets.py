# expect: OK
# A thread answers by call_soon_threadsafe.
import asyncio
import threading
import time


def work(loop, done):
    time.sleep(3)
    try:
        loop.call_soon_threadsafe(done.set)
    except RuntimeError:
        pass


async def main():
    done = asyncio.Event()
    threading.Thread(target=work, args=(asyncio.get_running_loop(), done), daemon=True).start()
    await asyncio.create_task(done.wait())


if __name__ == "__main__":
    asyncio.run(main())
