# expect: OK
# names: -
# line: -
# when: end
# Threads ask the main loop by run_coroutine_threadsafe() and wait for the result, as they may; a
# second loop in a thread of its own does the slow part.
import asyncio
import threading


class Background:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="background", daemon=True)
        self.thread.start()

    def submit(self, coro):
        return asyncio.run_coroutine_threadsafe(coro, self.loop)


async def price(article):
    await asyncio.sleep(3)
    return article * 1.19


async def quote(background, article):
    return await asyncio.wrap_future(background.submit(price(article)))


def till(loop, background, receipts, articles):
    for article in articles:
        asked = asyncio.run_coroutine_threadsafe(quote(background, article), loop)
        receipts.append(asked.result())


async def main():
    background, receipts = Background(), []
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            work = asyncio.to_thread(till, loop, background, receipts, range(n, n + 6))
            group.create_task(work, name=f"till-{n}")
    print(len(receipts), "receipts")
    background.loop.call_soon_threadsafe(background.loop.stop)


if __name__ == "__main__":
    asyncio.run(main())
