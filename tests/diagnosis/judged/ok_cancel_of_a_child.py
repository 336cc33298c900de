# expect: OK
# names: -
# line: -
# when: end
# A session cancels its own download again and again to start a better one, waits for that end, and
# runs on; timeouts strike within it and are caught.
import asyncio
import contextlib


class Session:
    def __init__(self):
        self.switches = 0
        self.timeouts = 0

    async def _download(self, quality):
        while True:
            await asyncio.sleep(0.05 * quality)

    async def _probe(self):
        try:
            async with asyncio.timeout(0.1):
                await asyncio.sleep(60)
        except TimeoutError:
            self.timeouts += 1

    async def play(self, seconds):
        for number in range(seconds):
            download = asyncio.create_task(self._download(number % 3 + 1), name=f"download-{number}")
            await self._probe()
            await asyncio.sleep(0.9)
            download.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await download
            self.switches += 1


async def main():
    session = Session()
    await asyncio.create_task(session.play(19), name="session")
    print(session.switches, session.timeouts)


if __name__ == "__main__":
    asyncio.run(main())
