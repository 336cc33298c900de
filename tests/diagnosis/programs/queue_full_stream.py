# expect: QUEUE_NO_CONSUMER
# names: send_all
# A memory stream of anyio whose receiver is open, and whose reader has died.
import asyncio

import anyio

kept = []


async def read(receive):
    kept.append(receive)
    async for item in receive:
        if item == 3:
            return


async def send_all(send):
    for n in range(20):
        await send.send(n)


async def main():
    send, receive = anyio.create_memory_object_stream(2)
    async with anyio.create_task_group() as group:
        group.start_soon(read, receive)
        group.start_soon(send_all, send)


if __name__ == "__main__":
    asyncio.run(main())
