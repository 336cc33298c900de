# expect: OK
# names: -
# line: -
# What ends these waits is called by who does not name it: handlers of what is logged, in a moment and by a queue, what
# stands for the terminal, and a method of which a timer has only the name.
import asyncio
import logging
import logging.handlers
import operator
import sys

log = logging.getLogger("program.heard")


class Ready(logging.Handler):
    def __init__(self, event):
        super().__init__()
        self.event = event

    def emit(self, record):
        self.event.set()


class Tee:
    def __init__(self, event, out):
        self.event = event
        self.out = out

    def write(self, text):
        self.event.set()
        return self.out.write(text)

    def flush(self):
        self.out.flush()


async def wait(event):
    await event.wait()


async def send(lines):
    await lines.get()


async def serve():
    await asyncio.sleep(60)
    log.warning("ready")


async def speak():
    await asyncio.sleep(60)
    print("ready")  # noqa: T201 -- it is what is heard


async def main():
    ready, heard, called = asyncio.Event(), asyncio.Event(), asyncio.Event()
    lines = asyncio.Queue()
    log.addHandler(Ready(ready))
    logging.getLogger("program").addHandler(logging.handlers.QueueHandler(lines))
    sys.stdout = Tee(heard, sys.stdout)
    asyncio.get_running_loop().call_later(60, operator.methodcaller("set"), called)
    waits = [wait(ready), wait(heard), wait(called), send(lines)]
    del ready, heard, called, lines
    acting = [asyncio.create_task(serve()), asyncio.create_task(speak())]
    await asyncio.gather(*waits, *acting)
