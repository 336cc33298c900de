# expect: SYNC_WAIT_ON_OWN_LOOP
# names: on_timer, refresh
import asyncio


async def refresh():
    await asyncio.sleep(0.01)


def on_timer(loop):
    fut = asyncio.run_coroutine_threadsafe(refresh(), loop)
    fut.result(timeout=60)  # here


async def main():
    loop = asyncio.get_running_loop()
    loop.call_later(0.2, on_timer, loop)
    await asyncio.sleep(90)


asyncio.run(main())
