# expect: ORPHAN_FUTURE
# names: ask, Backend.loop
# line: 40
# The loop of a service is stopped while it has a question; the tasks of the other loop go on.
import asyncio
import threading


class Backend:
    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def serve(self):
        self.loop.run_forever()

    async def answer(self, question):
        async with asyncio.timeout(60):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        return question[::-1]

    def ask(self, question):
        return asyncio.run_coroutine_threadsafe(self.answer(question), self.loop)

    def shut_down(self):
        self.loop.call_later(60, print, "never")
        self.loop.call_soon_threadsafe(self.loop.stop)


async def beat():
    while True:
        await asyncio.sleep(0.02)


async def shut_down(backend):
    await asyncio.sleep(0.05)
    backend.shut_down()


async def ask(backend):
    return await asyncio.wrap_future(backend.ask("spam"))


async def main():
    backend = Backend()
    threading.Thread(target=backend.serve, daemon=True).start()
    beating = asyncio.create_task(beat())
    asking = asyncio.create_task(ask(backend), name="ask")
    await shut_down(backend)
    await asking
    beating.cancel()
