# expect: TASK_LEAK
# names: wait
# line: 18
# when: end
# Each turn makes a task that waits for the stop, and leaves it when a message was first.
import asyncio


class Consumer:
    def __init__(self):
        self.inbox = asyncio.Queue()
        self.stop = asyncio.Event()
        self.seen = 0

    async def consume(self):
        while not self.stop.is_set():
            message = asyncio.create_task(self.inbox.get())
            stop = asyncio.create_task(self.stop.wait())
            await asyncio.wait({message, stop}, return_when=asyncio.FIRST_COMPLETED)
            self.seen += message.done()


async def main():
    consumer = Consumer()
    asyncio.get_running_loop().call_later(86_400, consumer.stop.set)
    consuming = asyncio.create_task(consumer.consume())
    for n in range(6_000):
        consumer.inbox.put_nowait(n)
        await asyncio.sleep(0.01)
    await consuming


asyncio.run(main())
