# expect: QUEUE_NO_PRODUCER
# names: loader|load, feed|read_feed
# line: 19|24
# when: hang
# Requests wait for the rates to be loaded, the loader waits at its queue, and the feed that fills the
# queue died: the event, the lock and the requests are all symptoms.
import asyncio


class Rates:
    def __init__(self):
        self.loaded = asyncio.Event()
        self.updates = asyncio.Queue()
        self.table = {}

    async def read_feed(self, lines):
        for line in lines:
            await asyncio.sleep(0.01)
            currency, rate = line.split("=")
            await self.updates.put((currency, float(rate)))
        await self.updates.put(None)

    async def load(self):
        while (update := await self.updates.get()) is not None:
            currency, rate = update
            self.table[currency] = rate
        self.loaded.set()

    async def convert(self, amount, currency):
        await self.loaded.wait()
        return amount * self.table[currency]


class Shop:
    def __init__(self, rates):
        self.rates = rates
        self.checkout = asyncio.Lock()
        self.receipts = []

    async def pay(self, amount, currency):
        async with self.checkout:
            euros = await self.rates.convert(amount, currency)
            self.receipts.append(euros)


async def open_doors(visitors):
    while True:
        await asyncio.sleep(0.1)
        visitors.append("visitor")


async def main():
    rates = Rates()
    shop = Shop(rates)
    lines = ["CHF=0.95", "NOK=11.6", "SEK 11.2", "DKK=7.46"]
    doors = asyncio.create_task(open_doors([]), name="doors")
    feed = asyncio.create_task(rates.read_feed(lines), name="feed")
    loader = asyncio.create_task(rates.load(), name="loader")
    payments = [asyncio.create_task(shop.pay(10 + n, "NOK"), name=f"payment-{n}") for n in range(6)]
    await asyncio.gather(*payments)
    await loader
    await feed
    doors.cancel()


if __name__ == "__main__":
    asyncio.run(main())
