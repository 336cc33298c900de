# expect: JOIN_WITHOUT_TASK_DONE
# names: _pending|pending, flush_batches|flusher-0|flusher-1
# line: 19|26|33
# when: hang
# The flushers take up to twenty measurements at a time and say task_done() once for each batch: the
# queue is empty, all is stored, and join() waits on.
import asyncio


class MetricStore:
    def __init__(self):
        self._pending = asyncio.LifoQueue()
        self.stored = {}

    def record(self, name, value):
        self._pending.put_nowait((name, value))

    async def _next_batch(self, most):
        batch = [await self._pending.get()]
        while len(batch) < most and not self._pending.empty():
            batch.append(self._pending.get_nowait())
        return batch

    async def flush_batches(self):
        while True:
            batch = await self._next_batch(20)
            await asyncio.sleep(0.01)
            for name, value in batch:
                self.stored.setdefault(name, []).append(value)
            self._pending.task_done()

    async def drain(self):
        await self._pending.join()
        return sum(map(len, self.stored.values()))


async def sensor(store, name):
    for number in range(80):
        store.record(name, number * 0.5)
        if number % 7 == 0:
            await asyncio.sleep(0.003)


async def blink():
    while True:
        await asyncio.sleep(0.5)


async def main():
    store = MetricStore()
    lamp = asyncio.create_task(blink(), name="lamp")
    flushers = [asyncio.create_task(store.flush_batches(), name=f"flusher-{n}") for n in range(2)]
    async with asyncio.TaskGroup() as group:
        for name in ("boiler", "pump", "valve"):
            group.create_task(sensor(store, name), name=name)
    print(await store.drain(), "measurements")
    for task in (*flushers, lamp):
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
