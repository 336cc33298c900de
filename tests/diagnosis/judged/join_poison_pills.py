# expect: JOIN_WITHOUT_TASK_DONE
# names: inbox, deliver
# line: 22|33
# when: hang
# In the mail thread's loop the carriers end at their poison pill without task_done(), and the post
# office waits for join().
import asyncio


class PostOffice:
    def __init__(self):
        self.inbox = asyncio.Queue()
        self.delivered = []

    async def deliver(self):
        async for letter in self.letters():
            await asyncio.sleep(0.005)
            self.delivered.append(letter)
            self.inbox.task_done()

    async def letters(self):
        while letter := await self.inbox.get():
            yield letter

    async def day(self):
        for n in range(1, 30):
            self.inbox.put_nowait(n)
        async with asyncio.TaskGroup() as carriers:
            for n in range(4):
                carriers.create_task(self.deliver(), name=f"carrier-{n}")
            for _ in range(4):
                self.inbox.put_nowait(None)
            await self.inbox.join()


def mail():
    asyncio.run(PostOffice().day())


async def main():
    await asyncio.to_thread(mail)


if __name__ == "__main__":
    asyncio.run(main())
