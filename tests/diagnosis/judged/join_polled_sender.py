# expect: JOIN_WITHOUT_TASK_DONE
# names: _queue|queue, _run|_sender|sender
# line: 38
# when: hang
# The sender takes what comes within a tenth of a second and sends five at a time. It says task_done() for none of them,
# and close() waits for the queue before it has the sender stop.
import asyncio


class Sender:
    def __init__(self):
        self._queue = asyncio.Queue()
        self._task = None
        self._batch = []
        self._closing = False

    def start(self):
        self._task = asyncio.create_task(self._run(), name="sender")

    async def _run(self):
        while not self._closing or not self._queue.empty():
            try:
                self._batch.append(await asyncio.wait_for(self._queue.get(), timeout=0.1))
            except TimeoutError:
                pass
            if len(self._batch) >= 5:
                await self._flush()

    async def _flush(self):
        await asyncio.sleep(0.01)
        self._batch.clear()

    def send(self, item):
        self._queue.put_nowait(item)

    async def close(self):
        await self._queue.join()
        self._closing = True
        await self._task


async def main():
    sender = Sender()
    sender.start()
    for number in range(20):
        sender.send(number)
        await asyncio.sleep(0.005)
    await sender.close()


asyncio.run(main())
