# expect: JOIN_WITHOUT_TASK_DONE
# names: take, drain
# line: 11|26
# A queue of the program's own takes several items at once; both it and who calls it are named.
import asyncio


class Batches(asyncio.Queue):
    async def take(self):
        """Return all that there is."""
        batch = [await self.get()]
        while not self.empty():
            batch.append(self.get_nowait())
        return batch


async def drain(batches):
    while True:
        await batches.take()
        batches.task_done()


async def main():
    batches = Batches()
    drainer = asyncio.create_task(drain(batches), name="drainer")
    for n in range(5):
        batches.put_nowait(n)
    await batches.join()
    drainer.cancel()


if __name__ == "__main__":
    asyncio.run(main())
