# expect: THREAD_LOCK_ACROSS_AWAIT
# names: Ledger._mutex, audit, post
import asyncio
import contextlib
import threading


class Ledger:
    def __init__(self):
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def opened(self):
        self._mutex.acquire()  # here
        try:
            yield self
        finally:
            self._mutex.release()


async def audit(ledgers):
    with contextlib.ExitStack() as stack:
        for ledger in ledgers:
            stack.enter_context(ledger.opened())
        await asyncio.sleep(0.5)


async def post(ledger):
    await asyncio.sleep(0.1)
    with ledger.opened():
        pass


async def main():
    ledgers = [Ledger() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        group.create_task(audit(ledgers))
        group.create_task(post(ledgers[1]))


asyncio.run(main())
