# expect: SELF_RELOCK
# names: post-invoice-4
# line: 15|29|40|46
# when: hang
# post() runs in a transaction, and for a corrected invoice it calls reverse(), which the same
# decorator puts into a transaction of its own: the same lock, taken three calls further down.
import asyncio
import contextlib
import functools


def in_transaction(method):
    @functools.wraps(method)
    async def wrapper(self, *args, **kwargs):
        async with self.transaction():
            return await method(self, *args, **kwargs)

    return wrapper


class Ledger:
    def __init__(self):
        self._writing = asyncio.Lock()
        self.entries = []
        self.open_transactions = 0

    @contextlib.asynccontextmanager
    async def transaction(self):
        async with self._writing:
            self.open_transactions += 1
            try:
                yield
            finally:
                self.open_transactions -= 1

    @in_transaction
    async def post(self, invoice):
        await asyncio.sleep(0.01)
        if invoice.get("corrects"):
            await self.correct(invoice)
        self.entries.append((invoice["number"], invoice["amount"]))

    async def correct(self, invoice):
        for number, amount in list(self.entries):
            if number == invoice["corrects"]:
                await self.reverse(number, amount)

    @in_transaction
    async def reverse(self, number, amount):
        await asyncio.sleep(0.01)
        self.entries.append((number, -amount))


async def exchange_rates(rates):
    while True:
        await asyncio.sleep(0.1)
        rates["EUR"] = rates.get("EUR", 1.0) * 1.0001


async def main():
    ledger = Ledger()
    invoices = [{"number": n, "amount": 100 + n} for n in range(4)]
    invoices.append({"number": 4, "amount": 90, "corrects": 2})
    invoices.append({"number": 5, "amount": 70})
    rates = asyncio.create_task(exchange_rates({}), name="rates")
    await asyncio.gather(
        *(
            asyncio.create_task(ledger.post(invoice), name=f"post-invoice-{invoice['number']}")
            for invoice in invoices
        )
    )
    rates.cancel()


if __name__ == "__main__":
    asyncio.run(main())
