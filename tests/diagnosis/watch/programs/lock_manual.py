# expect: THREAD_LOCK_ACROSS_AWAIT
# names: flush, append
import asyncio
import threading


class Log:
    def __init__(self):
        self.mutex = threading.Lock()
        self.lines = []

    async def flush(self):
        self.mutex.acquire()
        try:
            await asyncio.sleep(0.2)
            self.lines.clear()
        finally:
            self.mutex.release()

    def append(self, line):
        self.mutex.acquire()  # here
        self.lines.append(line)
        self.mutex.release()


async def main():
    log = Log()
    async with asyncio.TaskGroup() as g:
        g.create_task(log.flush())
        await asyncio.sleep(0.05)
        g.create_task(later(log))


async def later(log):
    log.append("x")


asyncio.run(main())
