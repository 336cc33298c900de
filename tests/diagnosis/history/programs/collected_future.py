# expect: TASK_COLLECTED
# names: reader-1|read_reply
# line: 12|16
# when: end
# The task and the future that it awaits are only held by each other.
import asyncio
import gc


async def read_reply():
    reply = asyncio.get_running_loop().create_future()
    return await reply


async def main():
    asyncio.create_task(read_reply(), name="reader-1")
    await asyncio.sleep(0.2)
    gc.collect()
    await asyncio.sleep(60)


asyncio.run(main())
