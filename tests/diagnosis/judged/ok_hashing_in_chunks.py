# expect: OK
# names: -
# line: -
# when: end
# A long computation yields by `sleep(0)` between chunks of work.
import asyncio
import hashlib


async def digest(blocks):
    state = hashlib.sha256()
    for _ in range(blocks):
        for _ in range(200):
            state.update(b"x" * 4096)
        await asyncio.sleep(0)
    return state.hexdigest()


async def ticker():
    while True:
        await asyncio.sleep(0.1)


async def main():
    tick = asyncio.create_task(ticker())
    print(await digest(60_000))
    tick.cancel()


asyncio.run(main())
