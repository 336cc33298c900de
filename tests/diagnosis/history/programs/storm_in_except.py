# expect: RETRY_STORM
# names: fetch_rates, ConnectionRefusedError
# line: 14|21|24
# when: hang
# The client asks a closed port again two milliseconds after each refusal.
import asyncio


class Rates:
    def __init__(self):
        self.errors = 0

    async def fetch_rates(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", 1)
        writer.close()
        return await reader.read()

    async def follow(self):
        while True:
            try:
                return await self.fetch_rates()
            except OSError:
                self.errors += 1
                await asyncio.sleep(0.002)


async def main():
    await asyncio.gather(Rates().follow(), asyncio.sleep(3600))


asyncio.run(main())
