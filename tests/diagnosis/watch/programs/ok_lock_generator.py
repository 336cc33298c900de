# expect: OK
# names: -
import asyncio
import contextlib
import threading


class Ledger:
    def __init__(self):
        self._mutex = threading.Lock()
        self.lines = []

    @contextlib.contextmanager
    def opened(self):
        self._mutex.acquire()
        try:
            yield self
        finally:
            self._mutex.release()

    @contextlib.contextmanager
    def shown(self):
        with self.opened():
            copy = list(self.lines)
        yield copy


async def show(ledger):
    while True:
        with contextlib.ExitStack() as stack:
            stack.enter_context(ledger.shown())
            await asyncio.sleep(0.05)


def write(ledger):
    for n in range(1_000_000):
        with ledger.opened():
            ledger.lines.append(n)
            del ledger.lines[:-50]


async def main():
    ledger = Ledger()
    async with asyncio.TaskGroup() as group:
        group.create_task(show(ledger))
        group.create_task(show(ledger))
        await asyncio.gather(*(asyncio.to_thread(write, ledger) for _ in range(60)))


asyncio.run(main())
