# expect: LOCK_CYCLE
# names: withdraw, deposit
# A decorator takes the lock of the object; two objects call each other's decorated methods.
import asyncio
import functools


def synchronized(method):
    @functools.wraps(method)
    async def call(self, *args):
        async with self._lock:
            return await method(self, *args)

    return call


class Account:
    def __init__(self, name):
        self.name = name
        self._lock = asyncio.Lock()
        self.amount = 100

    @synchronized
    async def deposit(self, amount):
        self.amount += amount

    @synchronized
    async def withdraw(self, amount, to):
        await asyncio.sleep(0.05)
        self.amount -= amount
        await to.deposit(amount)


async def main():
    a, b = Account("a"), Account("b")
    await asyncio.gather(a.withdraw(5, b), b.withdraw(7, a))


asyncio.run(main())
