# expect: LOCK_ABANDONED
# names: _lock, rebuild|rebuild-index
# line: 15|22
# when: hang
# The rebuild took the lock by hand and was cancelled in the middle of it; the searches wait for the lock for ever.
import asyncio


class Index:
    def __init__(self):
        self._lock = asyncio.Lock()
        self.words = {}

    async def rebuild(self):
        await self._lock.acquire()
        for word in range(1000):
            await asyncio.sleep(0.01)
            self.words[word] = word
        self._lock.release()

    async def search(self, word):
        async with self._lock:
            return self.words.get(word)


class App:
    def __init__(self):
        self.index = Index()
        self.jobs = {}

    def start(self, name, coroutine):
        self.jobs[name] = asyncio.create_task(coroutine, name=name)
        self.jobs[name].add_done_callback(lambda _: self.jobs.pop(name, None))

    def stop(self, name):
        self.jobs[name].cancel()


async def main():
    app = App()
    app.start("rebuild-index", app.index.rebuild())
    await asyncio.sleep(0.3)
    app.stop("rebuild-index")
    print(await asyncio.gather(*(app.index.search(n) for n in range(4))))


if __name__ == "__main__":
    asyncio.run(main())
