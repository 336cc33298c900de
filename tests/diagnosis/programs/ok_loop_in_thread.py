# expect: OK
# Another loop, in a thread, does the work.
import asyncio
import threading


async def work():
    await asyncio.sleep(5)
    return 3


async def main():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop))
    finally:
        loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    asyncio.run(main())
