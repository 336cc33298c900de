# expect: QUEUE_NO_CONSUMER
# names: produce, send
# The reader of a stream has left, and its end is kept open by who started it; a task that sleeps is beside them.
import anyio


async def produce(send):
    async with send:
        for number in range(20):
            await send.send(number)


async def consume(receive):
    async for number in receive:
        if number == 3:
            break


async def main():
    send, receive = anyio.create_memory_object_stream(1)
    async with anyio.create_task_group() as group:
        group.start_soon(produce, send)
        group.start_soon(consume, receive)
        group.start_soon(anyio.sleep, 600)


anyio.run(main)
