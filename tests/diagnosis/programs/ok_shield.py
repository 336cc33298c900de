# expect: OK
# A shielded job goes on.
import asyncio


async def main():
    await asyncio.shield(asyncio.sleep(10))


if __name__ == "__main__":
    asyncio.run(main())
