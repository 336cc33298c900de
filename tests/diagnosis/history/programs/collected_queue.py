# expect: TASK_COLLECTED
# names: drain
# line: 13|17
# when: end
# A background task waits at a queue that is gone with its owner.
import asyncio
import gc


class Mailer:
    def __init__(self):
        self.outbox = asyncio.Queue()
        asyncio.ensure_future(self.drain())

    async def drain(self):
        while True:
            mail = await self.outbox.get()
            print(mail)


async def work():
    Mailer()
    await asyncio.sleep(0.1)


async def main():
    await work()
    for _ in range(40):
        await asyncio.sleep(0.1)
        gc.collect(1)
        gc.collect()
    await asyncio.sleep(60)


asyncio.run(main())
