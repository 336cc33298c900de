# expect: BARRIER_SHORT
# names: start
# One of four runners failed before the start.
import asyncio


class Race:
    def __init__(self):
        self.start = asyncio.Barrier(4)

    async def run(self, n):
        await asyncio.sleep(0.01)
        if n == 2:
            raise ValueError("no shoes")
        await self.start.wait()


async def main():
    race = Race()
    runners = [asyncio.create_task(race.run(n), name=f"runner-{n}") for n in range(4)]
    await asyncio.gather(*runners, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
