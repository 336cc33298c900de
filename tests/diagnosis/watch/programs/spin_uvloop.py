# expect: BUSY_SPIN
# names: wait_for_flag
# Under uvloop: a task polls a flag with sleep(0).
import asyncio

import uvloop


class Job:
    ready = False

    async def wait_for_flag(self):
        while not self.ready:
            await asyncio.sleep(0)  # here


async def main():
    job = Job()
    asyncio.get_running_loop().call_later(200, setattr, job, "ready", True)
    await asyncio.create_task(job.wait_for_flag(), name="waiting-job")


uvloop.run(main())
