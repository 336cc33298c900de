# expect: LOST_EXCEPTION
# names: refresh, LookupError
# line: 12
# when: end
# The loop's exception handler swallows whatever it is told.
import asyncio


class Cache:
    async def refresh(self):
        await asyncio.sleep(0.1)
        raise LookupError("no such key")


async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    cache = Cache()
    loop.call_soon(lambda: loop.create_task(cache.refresh(), name="refresh") and None)
    await asyncio.sleep(60)


asyncio.run(main())
