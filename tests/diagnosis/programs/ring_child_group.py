# expect: LOCK_CYCLE|SELF_RELOCK
# names: parent
# The same with a TaskGroup, and the lock in a class.
import asyncio


class Store:
    def __init__(self):
        self._guard = asyncio.Lock()

    async def put(self, n):
        async with self._guard:
            return n

    async def put_all(self):
        async with self._guard, asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(self.put(n), name=f"put-{n}")


async def main():
    await asyncio.create_task(Store().put_all(), name="parent")


if __name__ == "__main__":
    asyncio.run(main())
