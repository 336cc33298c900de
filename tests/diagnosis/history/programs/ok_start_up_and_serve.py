# expect: OK
# names: -
# line: -
# Steps of the start and a server are awaited together, by gather and in a list: the server is not late, it serves.
import asyncio


async def step(seconds):
    await asyncio.sleep(seconds)


async def handle(reader, writer):
    await reader.read()


async def serve():
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    await server.serve_forever()


async def in_a_list():
    tasks = [asyncio.create_task(step(number / 100)) for number in range(8)]
    tasks.append(asyncio.create_task(serve()))
    await asyncio.wait(tasks)


async def main():
    await asyncio.gather(*(step(0.01) for _ in range(6)), in_a_list())


asyncio.run(main())
