# expect: OK
# A server waits for ever for what it makes there and then, and main waits for it and a periodic task.
import asyncio


async def handle(reader, writer):
    await reader.read()


async def serve():
    async with await asyncio.start_server(handle, "127.0.0.1", 0):
        await asyncio.Future()


async def hold():
    async with asyncio.Lock():
        await asyncio.Event().wait()


async def tick():
    while True:
        await asyncio.sleep(0.1)


async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(hold())
        await asyncio.gather(serve(), tick())
