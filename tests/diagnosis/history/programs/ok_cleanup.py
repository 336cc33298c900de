# expect: OK
# names: -
# line: -
# when: end
# A cancelled task takes ten seconds to say goodbye to all its peers.
import asyncio


class Peer:
    async def close(self):
        for _ in range(5):
            try:
                await asyncio.sleep(0.2)
            except OSError:
                continue


async def serve(peers):
    try:
        while True:
            try:
                await asyncio.sleep(0.1)
            except ValueError:
                continue
    finally:
        for peer in peers:
            await peer.close()


async def main():
    task = asyncio.create_task(serve([Peer() for _ in range(10)]), name="server")
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([task])


asyncio.run(main())
