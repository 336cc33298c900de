# expect: OK
# names: -
import asyncio
import hashlib


async def digest(n):
    d = b"x"
    for _k in range(10**6):
        for _ in range(3000):
            d = hashlib.sha256(d).digest()
        await asyncio.sleep(0)


async def main():
    await asyncio.gather(*(digest(n) for n in range(8)))


asyncio.run(main())
