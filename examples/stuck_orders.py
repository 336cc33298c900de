"""A batch that hangs, though no line of it looks wrong.

Orders reserve the articles that they are made of, each under the lock of that article. Two orders of the same
articles, in another order, wait for each other, and whoever wants one of these waits behind them. Have it say why:

    python examples/stuck_orders.py --ask                    # asks from inside, and gives up
    spanloom run --stall-after 3 examples/stuck_orders.py    # says why by itself after three seconds; then Ctrl-C
    spanloom why last                                        # what it was stuck at, after Ctrl-C or a kill -9
"""

import asyncio
import sys

from spanloom import async_map, why

ORDERS = [
    ("A-17", ["lamp", "bulb"]),
    ("A-18", ["desk"]),
    ("A-19", ["desk", "chair"]),
    ("A-20", ["bulb", "lamp"]),
    ("A-21", ["lamp"]),
]


class Article:
    """What there is some of."""

    def __init__(self, name, stock):
        self.name = name
        self.stock = stock
        self.lock = asyncio.Lock()


class Warehouse:
    """Articles by name."""

    def __init__(self):
        self.articles = {name: Article(name, 10) for name in ("lamp", "bulb", "desk", "chair")}

    async def reserve(self, names):
        """Take one of each, or none of any."""
        if names:
            article = self.articles[names[0]]
            async with article.lock:
                await asyncio.sleep(0.01)  # asks the other system
                await self.reserve(names[1:])
                article.stock -= 1


async def main(*, ask):
    """Reserve all orders, some at a time; with `ask`, find out after a second why it takes so long."""
    warehouse = Warehouse()

    async def fulfil(order):
        number, names = order
        await warehouse.reserve(names)
        return number

    batch = asyncio.create_task(async_map(fulfil, ORDERS, limit=4, desc="orders"))
    if ask:
        await asyncio.wait([batch], timeout=1)
        for finding in await asyncio.to_thread(why):
            print(f"{finding.code}: {finding.message}")
        batch.cancel()
        await asyncio.wait([batch])
    else:
        await batch


if __name__ == "__main__":
    asyncio.run(main(ask="--ask" in sys.argv))
