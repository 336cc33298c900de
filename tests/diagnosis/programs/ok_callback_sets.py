# expect: OK
# The end of a task sets an event by a done-callback.
import asyncio


async def job():
    await asyncio.sleep(10)


async def main():
    done = asyncio.Event()
    running = asyncio.create_task(job())
    running.add_done_callback(lambda _: done.set())
    await asyncio.create_task(done.wait())


if __name__ == "__main__":
    asyncio.run(main())
