# expect: ORPHAN_FUTURE
# names: ask
# A table of requests was replaced while somebody waited.
import asyncio


class Rpc:
    def __init__(self):
        self.pending = {}

    async def ask(self, n):
        self.pending[n] = asyncio.get_running_loop().create_future()
        return await self.pending[n]

    async def reconnect(self):
        while True:
            await asyncio.sleep(0.02)
            self.pending = {}


async def main():
    rpc = Rpc()
    again = asyncio.create_task(rpc.reconnect())
    await asyncio.gather(*(rpc.ask(n) for n in range(3)))
    again.cancel()


if __name__ == "__main__":
    asyncio.run(main())
