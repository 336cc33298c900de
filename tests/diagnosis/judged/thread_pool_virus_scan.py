# expect: THREAD_POOL_EXHAUSTED
# names: scan_archive, scan_member
# line: 37|45
# when: hang
# Each scan of an archive maps the scan of its members over the pool that it runs in itself, in both
# of its threads; the callers wait on an asyncio event that the results would set.
import asyncio
import concurrent.futures
import threading
import time

POOL = concurrent.futures.ThreadPoolExecutor(max_workers=2)


class Verdicts:
    def __init__(self, loop):
        self._loop = loop
        self._mutex = threading.Lock()
        self.found = {}
        self.complete = asyncio.Event()

    def add(self, name, infected, expected):
        with self._mutex:
            self.found[name] = infected
            if len(self.found) == expected:
                self._loop.call_soon_threadsafe(self.complete.set)


def scan_member(name):
    time.sleep(0.01)
    return "evil" in name


def scan_archive(name, verdicts, expected):
    time.sleep(0.05)
    members = [f"{name}/{n}.exe" for n in range(3)]
    infected = any(POOL.map(scan_member, members))
    verdicts.add(name, infected, expected)


async def watch_folder(names):
    verdicts = Verdicts(asyncio.get_running_loop())
    for name in names:
        POOL.submit(scan_archive, name, verdicts, len(names))
    await verdicts.complete.wait()
    return verdicts.found


async def update_signatures():
    while True:
        await asyncio.sleep(0.3)


async def main():
    updates = asyncio.create_task(update_signatures(), name="updates")
    found = await asyncio.create_task(watch_folder([f"mail-{n}.zip" for n in range(6)]), name="watch-folder")
    print(sum(found.values()), "infected")
    updates.cancel()


if __name__ == "__main__":
    asyncio.run(main())
