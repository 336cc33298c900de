# expect: OK
# names: -
# line: -
# when: end
# The ring of locks is in the loop of another thread; the deadline in this one cancels a member of it by way of the
# future that `run_coroutine_threadsafe` has returned.
import asyncio
import threading


class Depot:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.crane, self.truck = asyncio.Lock(), asyncio.Lock()
        threading.Thread(target=self.loop.run_forever, name="depot", daemon=True).start()

    def call(self, coroutine):
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    async def load(self, first, second):
        async with first:
            await asyncio.sleep(0.05)
            async with second:
                return True


async def main():
    depot = Depot()
    other = depot.call(depot.load(depot.truck, depot.crane))
    try:
        async with asyncio.timeout(18):
            await depot.call(depot.load(depot.crane, depot.truck))
    except TimeoutError:
        print(await other)


if __name__ == "__main__":
    asyncio.run(main())
