# expect: LOCK_ABANDONED
# names: _lock, releases it: `writer-0` (`write`) may have had it, was cancelled at abandoned_cancelled.py:20
# line: 15
# Two were cancelled: the first one had taken the lock by hand, and the other one waited for it, so it had not.
import asyncio


class Journal:
    def __init__(self):
        self._lock = asyncio.Lock()
        self.lines = []

    async def add(self, line):
        self.lines.append(line)
        await self._lock.acquire()


async def write(journal, pause_s):
    await journal.add(pause_s)
    await asyncio.sleep(pause_s)  # and nothing that would release it
    journal._lock.release()


async def main():
    journal = Journal()
    tasks = [asyncio.create_task(write(journal, 60 / (n + 1)), name=f"writer-{n}") for n in range(3)]
    await asyncio.sleep(0)
    for task in tasks[:2]:
        task.cancel()
    await tasks[2]


if __name__ == "__main__":
    asyncio.run(main())
