# expect: JOIN_WITHOUT_TASK_DONE
# names: _inbox|inbox, watch|watcher-0|watcher-1
# line: 40
# when: hang
# The watchers look into the mailbox every tenth of a second, and report a letter when it is filed; of one without
# an address nothing is filed, and nothing reported. They go on looking.
import asyncio


class Mailbox:
    def __init__(self):
        self._inbox = asyncio.Queue()
        self.filed = {}

    def post(self, address, text):
        self._inbox.put_nowait((address, text))

    async def watch(self):
        while True:
            try:
                async with asyncio.timeout(0.1):
                    address, text = await self._inbox.get()
            except TimeoutError:
                continue
            if not address:
                continue
            await asyncio.sleep(0.002)
            self.filed.setdefault(address, []).append(text)
            self._inbox.task_done()


async def main():
    mailbox = Mailbox()
    watchers = [asyncio.create_task(mailbox.watch(), name=f"watcher-{n}") for n in range(2)]
    for number in range(60):
        mailbox.post("" if number == 41 else f"street {number % 7}", f"letter {number}")
        if number % 10 == 0:
            await asyncio.sleep(0.01)

    await mailbox._inbox.join()
    print(sum(map(len, mailbox.filed.values())), "letters")
    for watcher in watchers:
        watcher.cancel()


if __name__ == "__main__":
    asyncio.run(main())
