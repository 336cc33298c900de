# expect: OK
# names: -
# line: -
# when: end
# Calls into the loop that fail, by every way of hearing of it: a thread that waits, one that polls, a callback, a list
# for later, a coroutine of another loop, and one of this loop that polls.
import asyncio
import threading
import time


async def ask(n):
    await asyncio.sleep(0.02)
    raise ConnectionError(n)


class Caller(threading.Thread):
    def __init__(self, loop):
        super().__init__(daemon=True)
        self.loop = loop
        self.errors = []
        self.later = []

    def send(self, n):
        return asyncio.run_coroutine_threadsafe(ask(n), self.loop)

    def run(self):
        for n in range(30):
            self.errors.append(self.send(n).exception())
            polled = self.send(n)
            while not polled.done():
                time.sleep(0.001)
            self.errors.append(polled.exception())
            del polled
            self.send(n).add_done_callback(lambda future: self.errors.append(future.exception()))
            self.later.append(self.send(n))
            asyncio.run(self.other_loop(n))
        time.sleep(18)
        self.errors += [future.exception() for future in self.later]

    async def other_loop(self, n):
        try:
            await asyncio.wrap_future(self.send(n))
        except ConnectionError as error:
            self.errors.append(error)


async def poll(loop, errors):
    for n in range(60):
        future = asyncio.run_coroutine_threadsafe(ask(n), loop)
        while not future.done():
            await asyncio.sleep(0)
        errors.append(future.exception())
        del future
        await asyncio.sleep(0.01)


async def main():
    loop = asyncio.get_running_loop()
    caller = Caller(loop)
    caller.start()
    await asyncio.create_task(poll(loop, caller.errors), name="poll")
    while caller.is_alive():
        await asyncio.sleep(0.1)
    print(len(caller.errors))


if __name__ == "__main__":
    asyncio.run(main())
