# expect: OK
# names: -
# line: -
# when: end
# A thread lock is shared by threads and tasks, held for a blink each time and never across an await;
# one thread keeps it for tenths of a second, off the loop.
import asyncio
import threading
import time


class Counters:
    def __init__(self):
        self._mutex = threading.Lock()
        self._values = {}

    def add(self, name, value):
        with self._mutex:
            self._values[name] = self._values.get(name, 0) + value

    def dump(self):
        with self._mutex:
            time.sleep(0.01)
            return dict(self._values)


def snapshots(counters, seconds):
    for _ in range(seconds * 2):
        time.sleep(0.5)
        counters.dump()
    return len(counters.dump())


async def requests(counters, route):
    for _ in range(1_900):
        counters.add(route, 1)
        await asyncio.sleep(0.01)


async def main():
    counters = Counters()
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(snapshots, counters, 20), name="snapshots")
        for route in ("cart", "search", "login"):
            group.create_task(requests(counters, route), name=f"requests-{route}")
    print(counters.dump())


if __name__ == "__main__":
    asyncio.run(main())
