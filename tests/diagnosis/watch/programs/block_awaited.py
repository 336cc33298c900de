# expect: LOOP_BLOCKED
# names: report
import asyncio
import time


class Host:
    @property
    def load(self):
        """Read it, as slowly as a busy host answers."""
        time.sleep(60)  # here
        return 1.0


async def report(host):
    await asyncio.sleep(0.1)
    return host.load


async def main():
    await asyncio.create_task(report(Host()), name="report")


asyncio.run(main())
