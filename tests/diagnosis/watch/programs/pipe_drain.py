# expect: PIPE_DEADLOCK
# names: feed
import asyncio


class Filter:
    async def feed(self, lines):
        for l in lines:
            self.p.stdin.write(l)
            await self.p.stdin.drain()  # here
        self.p.stdin.close()

    async def run(self):
        self.p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        await asyncio.create_task(self.feed([b"y" * 5000 + b"\n"] * 500), name="feed")
        return await self.p.stdout.read()


async def main():
    async with asyncio.timeout(None):
        await Filter().run()


asyncio.run(main())
