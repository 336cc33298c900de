# expect: LOST_EXCEPTION
# names: store|save, TypeError
# line: 19|22
# when: end
# A thread hands a coroutine to the loop and drops the future; the exception is in nobody's hands
# from then on.
import asyncio
import threading
import time


class Recorder:
    def __init__(self, loop):
        self._loop = loop
        self.saved = []

    async def store(self, value):
        await asyncio.sleep(0.01)
        self.saved.append(value + 1)

    def on_value(self, value):
        asyncio.run_coroutine_threadsafe(self.store(value), self._loop)


def probe(recorder):
    for value in (1, 2, "broken", 4):
        recorder.on_value(value)
        time.sleep(0.1)
    while True:
        time.sleep(1)


async def main():
    recorder = Recorder(asyncio.get_running_loop())
    threading.Thread(target=probe, args=(recorder,), name="probe", daemon=True).start()
    for _ in range(120):
        await asyncio.sleep(0.5)
    print(recorder.saved)


if __name__ == "__main__":
    asyncio.run(main())
