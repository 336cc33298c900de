# expect: OK
# names: -
# line: -
# when: end
# A lock of one's own that its owner may take again: the ledger posts, corrects and reverses in nested
# transactions, and the others take their turn.
import asyncio
import contextlib


class ReentrantLock:
    def __init__(self):
        self._lock = asyncio.Lock()
        self._owner = None
        self._depth = 0

    async def __aenter__(self):
        me = asyncio.current_task()
        if self._owner is not me:
            await self._lock.acquire()
            self._owner = me
        self._depth += 1

    async def __aexit__(self, *exc_info):
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._lock.release()


class Ledger:
    def __init__(self):
        self._writing = ReentrantLock()
        self.entries = []

    @contextlib.asynccontextmanager
    async def transaction(self):
        async with self._writing:
            yield

    async def post(self, number):
        async with self.transaction():
            await asyncio.sleep(0.3)
            if number % 3 == 0:
                await self.reverse(number)
            self.entries.append(number)

    async def reverse(self, number):
        async with self.transaction():
            await asyncio.sleep(0.3)
            self.entries.append(-number)


async def main():
    ledger = Ledger()
    posts = (asyncio.create_task(ledger.post(n), name=f"post-{n}") for n in range(48))
    await asyncio.gather(*posts)
    print(len(ledger.entries), "entries")


if __name__ == "__main__":
    asyncio.run(main())
