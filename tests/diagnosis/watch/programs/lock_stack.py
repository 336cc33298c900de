# expect: THREAD_LOCK_ACROSS_AWAIT
# names: holder, wanter
import asyncio
import contextlib
import threading

lock = threading.Lock()


@contextlib.contextmanager
def guarded():
    with lock:
        yield


async def hold():
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(guarded())
        await asyncio.get_running_loop().create_future()


async def want():
    await asyncio.sleep(0.1)
    check()


def check():
    with lock:  # here
        pass


async def main():
    a = asyncio.create_task(hold(), name="holder")
    b = asyncio.create_task(want(), name="wanter")
    await asyncio.wait({a, b})


asyncio.run(main())
