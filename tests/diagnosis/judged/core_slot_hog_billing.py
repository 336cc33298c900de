# expect: SLOT_HOG
# names: charge|charge_customer|bank
# line: 40|41|45
# when: slow
# The three slots of the bank's limiter are entered around the whole retry, pauses included, in jobs
# that have no limit of their own; the pauses are those the bank asks for: ten minutes.
import asyncio

from spanloom import FixedLimiter, RetryPolicy, async_map


class Declined(Exception):
    def __init__(self, customer, retry_after):
        super().__init__(f"customer {customer}: try again")
        self.retry_after = retry_after


class Bank:
    def __init__(self):
        self.declined = set()
        self.booked = []

    async def debit(self, customer):
        await asyncio.sleep(0.01)
        if customer % 10 == 3 and customer not in self.declined:
            self.declined.add(customer)
            raise Declined(customer, 600.0)
        self.booked.append(customer)
        return customer


class Billing:
    def __init__(self, bank):
        self.bank = bank
        self.lines = FixedLimiter(3, name="bank")
        self.policy = RetryPolicy(attempts=4, base_delay=0.05, retry_on=(Declined,))

    async def charge(self, customer):
        attempt = self.policy.retrying(self.bank.debit)
        async with self.lines:
            return await attempt(customer)

    async def charge_customer(self, customer):
        await asyncio.sleep(0.001 * (customer % 5))
        return await self.charge(customer)


async def web_shop(orders):
    while True:
        await asyncio.sleep(0.05)
        orders.append("order")


async def main():
    billing = Billing(Bank())
    shop = asyncio.create_task(web_shop([]), name="shop")
    await async_map(billing.charge_customer, range(120), limit=40, on_error="return")
    shop.cancel()


if __name__ == "__main__":
    asyncio.run(main())
