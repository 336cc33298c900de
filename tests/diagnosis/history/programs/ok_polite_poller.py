# expect: OK
# names: -
# line: -
# when: end
# Asks every half second, and gets an answer every third time.
import asyncio


async def status(n):
    await asyncio.sleep(0.01)
    if n % 3:
        raise ConnectionError("starting")
    return n


async def main():
    for n in range(40):
        try:
            await status(n)
        except ConnectionError:
            await asyncio.sleep(0.5)


asyncio.run(main())
