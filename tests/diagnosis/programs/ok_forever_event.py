# expect: OK
# The main task waits for an event that is never set, beside a periodic task.
import asyncio


async def poll():
    while True:
        await asyncio.sleep(0.02)


async def main():
    polling = asyncio.create_task(poll())
    await asyncio.Event().wait()
    polling.cancel()


if __name__ == "__main__":
    asyncio.run(main())
