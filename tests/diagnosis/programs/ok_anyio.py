# expect: OK
# A pipeline of anyio that moves.
import asyncio

import anyio


async def produce(send, limiter):
    async with send:
        for n in range(1000):
            async with limiter:
                await send.send(n)


async def consume(receive, lock):
    async with receive:
        async for _ in receive:
            async with lock:
                await anyio.sleep(0.01)


async def main():
    send, receive = anyio.create_memory_object_stream(3)
    limiter, lock, never = anyio.CapacityLimiter(2), anyio.Lock(), anyio.Event()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(produce, send.clone(), limiter)
            group.start_soon(consume, receive.clone(), lock)
        with anyio.move_on_after(30):
            await never.wait()


if __name__ == "__main__":
    asyncio.run(main())
