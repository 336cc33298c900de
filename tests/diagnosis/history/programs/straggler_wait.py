# expect: STRAGGLER
# names: shard-5
# line: 17
# when: slow
# asyncio.wait over a dozen shards of one of which the peer does not answer.
import asyncio


async def silent(reader, writer):
    await asyncio.sleep(600)


async def shard(address, n):
    await asyncio.sleep(0.05)
    if n == 5:
        reader, writer = await asyncio.open_connection(*address)
        return await reader.readline()
    return n


async def main():
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    tasks = {asyncio.create_task(shard(address, n), name=f"shard-{n}") for n in range(12)}
    done, _ = await asyncio.wait(tasks)
    print(len(done))


asyncio.run(main())
