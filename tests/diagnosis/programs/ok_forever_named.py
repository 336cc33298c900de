# expect: OK
# The same with an event that has a name.
import asyncio


async def poll():
    while True:
        await asyncio.sleep(0.02)


async def main():
    polling = asyncio.create_task(poll())
    forever = asyncio.Event()
    await forever.wait()
    polling.cancel()


if __name__ == "__main__":
    asyncio.run(main())
