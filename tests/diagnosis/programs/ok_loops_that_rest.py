# expect: OK
# names: -
# line: -
# Tasks wait for those of loops that nobody runs just now, and that somebody will run: again, for the first time, by
# the way that asyncio finds them; and of one loop that nobody will, nobody misses what is left in it.
import asyncio
import threading
import time


async def answer(seconds):
    await asyncio.sleep(seconds)
    return seconds


class Stepped:
    """Runs its loop for a moment now and then."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def serve(self):
        while True:
            self.loop.run_until_complete(asyncio.sleep(0))
            time.sleep(0.05)


class Resumed:
    """Runs its loop again after a while."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def serve(self):
        self.loop.call_later(0.01, self.loop.stop)
        self.loop.run_forever()
        time.sleep(5)
        self.loop.run_forever()


class Started:
    """Its loop is run by a thread that somebody will start."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    async def start(self):
        await asyncio.sleep(5)
        self.thread.start()


def find_again(given):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    given.append(loop.create_task(answer(5)))
    given.append(asyncio.run_coroutine_threadsafe(answer(5), loop))
    del loop, given
    time.sleep(5)
    asyncio.get_event_loop().run_forever()


def run_twice(given):
    with asyncio.Runner() as runner:
        given.append(asyncio.run_coroutine_threadsafe(answer(5), runner.get_loop()))
        time.sleep(5)
        runner.run(answer(10))


def leave():
    loop = asyncio.new_event_loop()
    task = loop.create_task(answer(5))
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    return task


async def wait_for_answer(service):
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer(5), service.loop))


async def wait_for_given(function):
    given = []
    threading.Thread(target=function, args=(given,), daemon=True).start()
    while not given:
        await asyncio.sleep(0.001)
    return await asyncio.wrap_future(given.pop())


async def main():
    left = []
    threading.Thread(target=lambda: left.append(leave()), daemon=True).start()
    stepped, resumed, started = Stepped(), Resumed(), Started()
    for service in (stepped, resumed):
        threading.Thread(target=service.serve, daemon=True).start()
    waiting = [asyncio.create_task(wait_for_answer(service)) for service in (stepped, resumed, started)]
    del stepped, resumed, service
    waiting.append(asyncio.create_task(started.start()))
    del started
    waiting += [asyncio.create_task(wait_for_given(function)) for function in (find_again, run_twice)]
    await asyncio.gather(*waiting)
    left.clear()
