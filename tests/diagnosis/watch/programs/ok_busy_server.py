# expect: OK
# names: -
import asyncio


async def pingpong(a, b, first):
    n = 0
    if first:
        await b.put(n)
    while True:
        n = await a.get()
        await b.put(n + 1)


async def main():
    qs = [asyncio.Queue(), asyncio.Queue()]
    await asyncio.gather(pingpong(qs[0], qs[1], True), pingpong(qs[1], qs[0], False))


asyncio.run(main())
