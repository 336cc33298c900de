# expect: OK
# names: -
# line: -
# when: end
# Two movers do hold what the other one wants, but who waits for both gives up in time and with that cancels
# both: by way of a gather in one round, and of a shielded one with its own deadline in the other.
import asyncio


async def move(first, second):
    async with first:
        await asyncio.sleep(0.05)
        async with second:
            return True


async def attempt(left, right):
    return await asyncio.gather(move(left, right), move(right, left))


async def patiently(left, right):
    return await asyncio.wait_for(attempt(left, right), 18)


async def main():
    for _ in range(2):
        left, right = asyncio.Lock(), asyncio.Lock()
        try:
            await asyncio.gather(
                asyncio.wait_for(asyncio.gather(move(left, right), move(right, left)), 18),
                asyncio.shield(patiently(asyncio.Lock(), asyncio.Lock())),
            )
        except TimeoutError:
            print("again")


if __name__ == "__main__":
    asyncio.run(main())
