# expect: OK
# names: -
import asyncio
import time


async def main():
    await asyncio.gather(*(asyncio.sleep(0.1) for _ in range(10)))
    time.sleep(20)


asyncio.run(main())
