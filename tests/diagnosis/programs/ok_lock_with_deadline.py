# expect: OK
# Two jobs take locks in opposite order, but each gives up after a while.
import asyncio


async def work(first, second):
    while True:
        async with first:
            await asyncio.sleep(0.01)
            try:
                await asyncio.wait_for(second.acquire(), 20)
                second.release()
            except TimeoutError:
                pass


async def main():
    one, two = asyncio.Lock(), asyncio.Lock()
    await asyncio.gather(work(one, two), work(two, one))


if __name__ == "__main__":
    asyncio.run(main())
