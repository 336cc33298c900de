# expect: LOCK_CYCLE
# names: alpha, beta, gamma
# Three jobs take locks by hand, each the next one's second.
import asyncio


class Fork:
    def __init__(self):
        self.lock = asyncio.Lock()


async def dine(left, right):
    await left.lock.acquire()
    try:
        await asyncio.sleep(0.02)
        await right.lock.acquire()
        try:
            await asyncio.sleep(0)
        finally:
            right.lock.release()
    finally:
        left.lock.release()


async def main():
    forks = [Fork() for _ in range(3)]
    names = ["alpha", "beta", "gamma"]
    tasks = [asyncio.create_task(dine(forks[n], forks[(n + 1) % 3]), name=names[n]) for n in range(3)]
    await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(main())
