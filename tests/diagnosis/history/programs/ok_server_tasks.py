# expect: OK
# names: -
# line: -
# when: end
# A server handles each message in a task of its own; they end, one client stays.
import asyncio

background = set()


async def handle_message(line):
    await asyncio.sleep(0.05)
    return line.upper()


async def handle(reader, writer):
    while line := await reader.readline():
        task = asyncio.create_task(handle_message(line))
        background.add(task)
        task.add_done_callback(background.discard)
        writer.write(await task)
        await writer.drain()
    writer.close()


async def client(address, messages, pause):
    reader, writer = await asyncio.open_connection(*address)
    for n in range(messages):
        writer.write(b"message %d\n" % n)
        await reader.readline()
        await asyncio.sleep(pause)
    writer.close()


async def main():
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        long = asyncio.create_task(client(address, 20, 1.0), name="dashboard")
        for n in range(150):
            await client(address, 2, 0.0)
        await long


asyncio.run(main())
