# expect: EVENT_NEVER_SET
# names: connected
# The task that would set the event was cancelled before it could.
import asyncio


class Client:
    def __init__(self):
        self.connected = asyncio.Event()

    async def connect(self):
        await asyncio.sleep(0.5)
        self.connected.set()

    async def send(self):
        await self.connected.wait()


async def tick():
    while True:
        await asyncio.sleep(0.02)


async def main():
    client = Client()
    connecting = asyncio.create_task(client.connect(), name="connecting")
    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.02)
    connecting.cancel()
    await asyncio.gather(*(asyncio.create_task(client.send(), name=f"send-{n}") for n in range(3)))
    ticker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
