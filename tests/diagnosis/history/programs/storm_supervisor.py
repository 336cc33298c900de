# expect: RETRY_STORM
# names: worker, ZeroDivisionError
# line: 11|19|23
# when: hang
# A supervisor starts its crashing worker anew a hundred times a second.
import asyncio


async def worker(config):
    await asyncio.sleep(0.002)
    return 10 / config["workers"]


async def supervise(config):
    restarts = 0
    while True:
        task = asyncio.create_task(worker(config), name="worker")
        try:
            await task
            return restarts
        except Exception:
            restarts += 1
        await asyncio.sleep(0.008)


async def main():
    await asyncio.create_task(supervise({"workers": 0}), name="supervisor")


asyncio.run(main())
