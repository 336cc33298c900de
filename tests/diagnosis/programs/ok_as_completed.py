# expect: OK
# The next result comes later.
import asyncio


async def job(n):
    await asyncio.sleep(n)
    return n


async def main():
    for next_one in asyncio.as_completed([job(5), job(7), job(9)]):
        await next_one


if __name__ == "__main__":
    asyncio.run(main())
