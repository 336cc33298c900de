# expect: RETRY_STORM
# names: charge, ValueError
# line: 15|20|26
# when: hang
# A retrying async generator hands out attempts without an end.
import asyncio
import contextlib


async def attempts():
    number = 0
    while True:
        number += 1
        yield number
        await asyncio.sleep(0.005)


async def charge(card):
    await asyncio.sleep(0.001)
    raise ValueError("declined")


async def pay(card):
    async for _ in attempts():
        with contextlib.suppress(ValueError):
            return await charge(card)


async def main():
    await asyncio.create_task(pay("visa"), name="payment")


asyncio.run(main())
