# expect: SYNC_WAIT_ON_OWN_LOOP
# names: ask|answer
import asyncio
import threading

loops = {}


async def answer(n):
    return n


async def ask():
    await asyncio.sleep(0.3)
    return asyncio.run_coroutine_threadsafe(back(), loops["b"]).result()  # here


async def back():
    await asyncio.sleep(0.01)
    return asyncio.run_coroutine_threadsafe(answer(1), loops["a"]).result()  # here


def run_b():
    async def serve():
        loops["b"] = asyncio.get_running_loop()
        await asyncio.Event().wait()

    asyncio.run(serve())


async def main():
    loops["a"] = asyncio.get_running_loop()
    threading.Thread(target=run_b, daemon=True).start()
    await asyncio.create_task(ask(), name="ask")


asyncio.run(main())
