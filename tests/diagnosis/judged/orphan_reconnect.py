# expect: ORPHAN_FUTURE
# names: order-6|order-7|order-8|request|buy
# line: 35|50
# when: hang
# On a lost connection the client makes itself a new table of pending requests; what was in the old
# one is answered by nobody, as the new connection does not know about it.
import asyncio
import itertools
import json


class Rpc:
    def __init__(self, host, port):
        self.host, self.port = host, port
        self.numbers = itertools.count(1)
        self.pending = {}
        self.writer = None

    async def connect(self):
        reader, self.writer = await asyncio.open_connection(self.host, self.port)
        self.pending = {}
        return reader

    async def listen(self):
        while True:
            reader = await self.connect()
            async for line in reader:
                reply = json.loads(line)
                self.pending.pop(reply["id"]).set_result(reply["result"])

    async def request(self, method):
        number = next(self.numbers)
        answer = self.pending[number] = asyncio.get_running_loop().create_future()
        self.writer.write(json.dumps({"id": number, "method": method}).encode() + b"\n")
        return await answer


async def exchange(reader, writer):
    async for line in reader:
        call = json.loads(line)
        if call["id"] == 6:
            break
        writer.write(json.dumps({"id": call["id"], "result": call["method"].upper()}).encode() + b"\n")
        await writer.drain()
    writer.close()


async def buy(rpc, number):
    await asyncio.sleep(0.02 * number)
    return await rpc.request(f"buy {number}")


async def quotes(rpc):
    while True:
        await asyncio.sleep(0.5)
        await rpc.request("quote")


async def main():
    server = await asyncio.start_server(exchange, "127.0.0.1", 0)
    rpc = Rpc(*server.sockets[0].getsockname())
    listener = asyncio.create_task(rpc.listen(), name="listener")
    await asyncio.sleep(0.1)
    stream = asyncio.create_task(quotes(rpc), name="quotes")
    async with asyncio.TaskGroup() as group:
        for number in range(1, 12):
            group.create_task(buy(rpc, number), name=f"order-{number}")
    stream.cancel()
    listener.cancel()


if __name__ == "__main__":
    asyncio.run(main())
