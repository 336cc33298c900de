# expect: THREAD_LOCK_ACROSS_AWAIT
# names: keeper, lock
import asyncio
import threading


class S:
    def __init__(self):
        self.lock = threading.Lock()


async def keeper(s):
    with s.lock:
        await asyncio.Event().wait()


async def user(s):
    with s.lock:  # here
        pass


def thread(s):
    asyncio.run(keeper(s))


async def beat():
    while True:
        await asyncio.sleep(0.1)


async def main():
    s = S()
    t = threading.Thread(target=thread, args=(s,), daemon=True)
    t.start()
    await asyncio.sleep(0.3)
    b = asyncio.create_task(beat())
    await user(s)


asyncio.run(main())
