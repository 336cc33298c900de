# expect: EVENT_NEVER_SET
# names: load|load-eur, ValueError
# line: 17|26
# when: hang
# The one who loads the rate for all others failed; those who found its event in the table wait
# for it to be set.
import asyncio


class Rates:
    def __init__(self):
        self._known = {}
        self._loading = {}

    async def load(self, currency):
        await asyncio.sleep(0.1)
        self._known[currency] = float({"usd": "1.1", "eur": "one"}[currency])
        self._loading.pop(currency).set()

    async def rate(self, currency):
        if currency not in self._known:
            if currency not in self._loading:
                self._loading[currency] = asyncio.Event()
                await asyncio.create_task(self.load(currency), name=f"load-{currency}")
            else:
                await self._loading[currency].wait()
        return self._known[currency]


async def invoice(rates, n):
    await asyncio.sleep(0.005 * n)
    return n * await rates.rate("eur" if n % 2 else "usd")


async def main():
    rates = Rates()
    jobs = (asyncio.create_task(invoice(rates, n), name=f"invoice-{n}") for n in range(8))
    print(await asyncio.gather(*jobs, return_exceptions=True))


if __name__ == "__main__":
    asyncio.run(main())
