# expect: OK
# Who answers finds the request in the context: a task, a timer's callback, and a call in a thread.
import asyncio
import time
from contextvars import ContextVar


class Request:
    def __init__(self):
        self.done = asyncio.Event()
        self.loop = asyncio.get_running_loop()


request = ContextVar("request")


def answer():
    request.get().done.set()


async def by_task():
    await asyncio.sleep(30)
    answer()


def by_thread():
    time.sleep(3)
    request.get().loop.call_soon_threadsafe(answer)


async def handle(start):
    mine = Request()
    request.set(mine)
    kept = start()
    await mine.done.wait()
    return kept


async def main():
    await asyncio.gather(
        handle(lambda: asyncio.create_task(by_task())),
        handle(lambda: asyncio.get_running_loop().call_later(30, answer)),
        handle(lambda: asyncio.create_task(asyncio.to_thread(by_thread))),
    )
