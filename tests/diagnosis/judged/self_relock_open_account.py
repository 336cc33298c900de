# expect: SELF_RELOCK
# names: settle, _lock
# line: 15|21|31
# when: hang
# An account is opened and shut by methods of its own; settle() opens it, and calls book(), which opens it again.
import asyncio


class Account:
    def __init__(self):
        self._lock = asyncio.Lock()
        self.sum = 0

    async def open(self):
        await self._lock.acquire()

    def shut(self):
        self._lock.release()

    async def book(self, amount):
        await self.open()
        try:
            self.sum += amount
        finally:
            self.shut()

    async def settle(self):
        await self.open()
        try:
            await asyncio.sleep(0.02)
            await self.book(-self.sum)
        finally:
            self.shut()


async def main():
    account = Account()
    await account.book(5)
    await asyncio.create_task(account.settle(), name="settle")


if __name__ == "__main__":
    asyncio.run(main())
