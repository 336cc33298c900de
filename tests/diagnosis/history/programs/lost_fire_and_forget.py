# expect: LOST_EXCEPTION
# names: audit, ValueError
# line: 12
# when: end
# Nobody holds the task that writes the audit log.
import asyncio


async def audit(entry):
    await asyncio.sleep(0.05)
    if entry == 2:
        raise ValueError("entry 2 has no user")


async def serve():
    for n in range(600):
        asyncio.create_task(audit(n))
        await asyncio.sleep(0.1)


asyncio.run(serve())
