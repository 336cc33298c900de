# expect: OK
# The parties of a barrier are started one after the other.
import asyncio


async def party(barrier):
    await barrier.wait()


async def main():
    barrier = asyncio.Barrier(4)
    tasks = []
    for _ in range(4):
        tasks.append(asyncio.create_task(party(barrier)))
        await asyncio.sleep(30)
    await asyncio.gather(*tasks)
