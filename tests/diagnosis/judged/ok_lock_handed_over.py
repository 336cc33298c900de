# expect: OK
# names: -
# line: -
# when: end
# The task that takes the lock and the permit ends at once; they are given back by the reply, in a
# callback of the timer or in a thread, as the protocol has it.
import asyncio
import threading


class Bus:
    """Half duplex: one message on the line until its acknowledgement is in."""

    def __init__(self, loop):
        self.loop = loop
        self.line = asyncio.Lock()
        self.credits = asyncio.Semaphore(2)
        self.acknowledged = 0

    async def send(self, number):
        await self.credits.acquire()
        await self.line.acquire()
        if number % 2:
            self.loop.call_later(1.5, self._acknowledge)
        else:
            threading.Timer(1.5, self.loop.call_soon_threadsafe, [self._acknowledge]).start()

    def _acknowledge(self):
        self.acknowledged += 1
        self.line.release()
        self.credits.release()


async def main():
    bus = Bus(asyncio.get_running_loop())
    sending = [asyncio.create_task(bus.send(n), name=f"message-{n}") for n in range(14)]
    await asyncio.gather(*sending)
    while bus.acknowledged < 14:
        await asyncio.sleep(0.2)
    print(bus.acknowledged, "acknowledged")


if __name__ == "__main__":
    asyncio.run(main())
