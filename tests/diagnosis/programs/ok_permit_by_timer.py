# expect: OK
# Permits come back by a timer of the job's own.
import asyncio


class Rate:
    def __init__(self, n):
        self.permits = asyncio.Semaphore(n)

    async def start(self):
        await self.permits.acquire()
        asyncio.get_running_loop().call_later(5, self.back)

    def back(self):
        self.permits.release()


async def main():
    rate = Rate(2)
    await asyncio.gather(*(rate.start() for _ in range(6)))


if __name__ == "__main__":
    asyncio.run(main())
