# expect: CANCEL_SWALLOWED
# names: consumer-1|consumer-0|consumer-2|_consume|_handle
# line: 27|35|36
# when: hang
# The handler treats the CancelledError of its own task as that of the job, logs it and takes the next
# job; the pool's shutdown gathers its consumers for ever.
import asyncio
import logging

log = logging.getLogger("pool")


class Pool:
    def __init__(self, size):
        self.jobs = asyncio.Queue(maxsize=50)
        self.failed = self.done = 0
        self.consumers = [
            asyncio.create_task(self._consume(), name=f"consumer-{number}") for number in range(size)
        ]

    async def _run(self, job):
        await asyncio.sleep(0.05)
        return job * 2

    async def _handle(self, job):
        try:
            await self._run(job)
            self.done += 1
        except (Exception, asyncio.CancelledError) as error:
            self.failed += 1
            log.info("job %s failed: %r", job, error)

    async def _consume(self):
        while True:
            job = await self.jobs.get()
            await self._handle(job)
            self.jobs.task_done()

    async def close(self):
        for consumer in self.consumers:
            consumer.cancel()
        await asyncio.gather(*self.consumers, return_exceptions=True)


async def submit(pool):
    number = 0
    while True:
        await pool.jobs.put(number)
        number += 1
        await asyncio.sleep(0.005)


async def main():
    pool = Pool(3)
    submitting = asyncio.create_task(submit(pool), name="submit")
    await asyncio.sleep(0.6)
    await asyncio.create_task(pool.close(), name="close-pool")
    submitting.cancel()


if __name__ == "__main__":
    asyncio.run(main())
