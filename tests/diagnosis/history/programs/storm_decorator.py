# expect: RETRY_STORM
# names: load_page, BrokenPipeError
# line: 15|19|28
# when: hang
# A decorator tries again for ever, with hardly a pause.
import asyncio
import functools


def persistent(function):
    @functools.wraps(function)
    async def call(*args):
        while True:
            try:
                return await function(*args)
            except (BrokenPipeError, TimeoutError):
                pass
            await asyncio.sleep(0)
            await asyncio.sleep(0.004)

    return call


class Site:
    @persistent
    async def load_page(self, n):
        await asyncio.sleep(0.001)
        raise BrokenPipeError("gone")


async def main():
    site = Site()
    print(await asyncio.gather(*(site.load_page(n) for n in range(8))))


asyncio.run(main())
