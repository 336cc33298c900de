# expect: SLOT_HOG
# names: deliver|send_newsletter|_slots
# line: 43|51
# when: slow
# Mails to a grey-listing server wait a minute and a half before their next try, within the slot; all
# five slots are with them, and two hundred mails that would go out at once are queued.
import asyncio
import contextlib


class Greylisted(Exception):
    retry_after = 90.0


class Relay:
    def __init__(self):
        self.known = set()
        self.sent = []

    async def submit(self, address):
        await asyncio.sleep(0.005)
        domain = address.partition("@")[2]
        if domain == "strict.example" and address not in self.known:
            self.known.add(address)
            raise Greylisted(address)
        self.sent.append(address)


class Mailer:
    def __init__(self, relay, connections):
        self.relay = relay
        self._slots = asyncio.BoundedSemaphore(connections)

    @contextlib.asynccontextmanager
    async def _connection(self):
        await self._slots.acquire()
        try:
            yield self.relay
        finally:
            self._slots.release()

    async def _pause(self, seconds):
        await asyncio.sleep(seconds)

    async def deliver(self, address):
        async with self._connection() as relay:
            for _ in range(5):
                try:
                    return await relay.submit(address)
                except Greylisted as error:
                    await self._pause(error.retry_after)


async def send_newsletter(mailer, addresses):
    async with asyncio.TaskGroup() as group:
        for number, address in enumerate(addresses):
            group.create_task(mailer.deliver(address), name=f"mail-{number}")


async def dashboard(relay):
    while True:
        await asyncio.sleep(0.5)
        print(len(relay.sent), "sent")


async def main():
    relay = Relay()
    showing = asyncio.create_task(dashboard(relay), name="dashboard")
    strict = [f"reader{n}@strict.example" for n in range(5)]
    easy = [f"reader{n}@easy.example" for n in range(200)]
    await send_newsletter(Mailer(relay, 5), easy[:10] + strict + easy[10:])
    showing.cancel()


if __name__ == "__main__":
    asyncio.run(main())
