# expect: LOCK_ABANDONED
# names: _lock, writer-1
# line: 15|28
# when: hang
# The second writer takes the lease, finds nothing to write and returns without giving it back; all later writers wait.
import asyncio


class Lease:
    def __init__(self):
        self._lock = asyncio.Lock()
        self.taken = 0

    async def take(self):
        await self._lock.acquire()
        self.taken += 1

    def give_back(self):
        self._lock.release()


class Document:
    def __init__(self):
        self.lease = Lease()
        self.text = []

    async def write(self, words):
        await self.lease.take()
        if not words:
            return
        for word in words:
            await asyncio.sleep(0.01)
            self.text.append(word)
        self.lease.give_back()


async def autosave(document):
    while True:
        await asyncio.sleep(0.2)
        len(document.text)


async def main():
    document = Document()
    saving = asyncio.create_task(autosave(document), name="autosave")
    texts = ["the first".split(), [], "the third".split(), "the last".split()]
    tasks = [asyncio.create_task(document.write(text), name=f"writer-{n}") for n, text in enumerate(texts)]
    await asyncio.wait(tasks)
    saving.cancel()


if __name__ == "__main__":
    asyncio.run(main())
