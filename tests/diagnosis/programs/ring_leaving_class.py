# expect: LOCK_CYCLE|SELF_RELOCK
# names: session, _write_lock
# line: 23|29|37
# A class that is left waits for the tasks that it has started, and releases its lock only after that.
import asyncio


class Session:
    def __init__(self):
        self._write_lock = asyncio.Lock()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self):
        await self._group.__aenter__()
        await self._write_lock.acquire()
        return self

    async def __aexit__(self, *exc_info):
        await self._finish(exc_info)

    async def _finish(self, exc_info):
        try:
            await self._group.__aexit__(*exc_info)
        finally:
            self._write_lock.release()

    async def save(self):
        await asyncio.sleep(0.02)
        async with self._write_lock:
            pass

    def start(self):
        self._group.create_task(self.save(), name="save")


async def work():
    async with Session() as session:
        session.start()


async def main():
    await asyncio.create_task(work(), name="session")


if __name__ == "__main__":
    asyncio.run(main())
