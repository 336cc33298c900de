# expect: LOCK_CYCLE
# names: rebalance, audit
# line: 44|53
# when: hang
# A trading engine has a loop of its own in a thread, where two jobs take the same two books in
# opposite order; the main loop only waits for its answer, and has other things to do.
import asyncio
import collections
import threading


class Book:
    def __init__(self, symbol):
        self.symbol = symbol
        self.orders = collections.deque()
        self.lock = asyncio.Lock()


class Engine:
    """Runs its own loop, away from the web server's."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.books = {symbol: Book(symbol) for symbol in ("EUR", "CHF", "NOK")}
        self.thread = threading.Thread(target=self._serve, name="engine", daemon=True)

    def start(self):
        self.thread.start()

    def _serve(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, coro):
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coro, self.loop))

    async def quote(self, symbol):
        await asyncio.sleep(0.04)
        return len(symbol)

    async def rebalance(self):
        async with self.books["EUR"].lock:
            await self.quote("EUR")
            async with self.books["CHF"].lock:
                self.books["CHF"].orders.append("sell")

    async def audit(self):
        async with self.books["CHF"].lock:
            await self.quote("CHF")
            return await self._compare("EUR")

    async def _compare(self, symbol):
        async with self.books[symbol].lock:
            return len(self.books[symbol].orders)

    async def both(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.rebalance(), name="rebalance")
            group.create_task(self.audit(), name="audit")
            group.create_task(self.quote("NOK"), name="quote")


async def serve_page(pages):
    while True:
        await asyncio.sleep(0.05)
        pages.append("page")


async def main():
    engine = Engine()
    engine.start()
    pages = []
    web = asyncio.create_task(serve_page(pages), name="web")
    await engine.submit(engine.both())
    web.cancel()


if __name__ == "__main__":
    asyncio.run(main())
