# expect: OK
# names: -
import asyncio
import sys


async def main():
    p = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "[print('x'*1000) for _ in range(100000)]", stdout=-1
    )
    while line := await p.stdout.readline():
        await asyncio.sleep(0.5)


asyncio.run(main())
