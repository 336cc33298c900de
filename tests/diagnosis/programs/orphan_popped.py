# expect: ORPHAN_FUTURE
# names: reply, call
# line: 28
# The reader has taken the future out and fails to answer it; its variable has it until the next reply comes.
import asyncio


class Client:
    def __init__(self):
        self.lines = asyncio.Queue()
        self.pending = {}

    async def listen(self):
        while True:
            number, body = await self.lines.get()
            waiting = self.pending.pop(number, None)
            if waiting is None:
                continue
            try:
                waiting.set_result(int(body))
            except ValueError:
                continue

    async def call(self, number, body):
        loop = asyncio.get_running_loop()
        self.pending[number] = reply = loop.create_future()
        loop.call_later(0.05, self.lines.put_nowait, (number, body))
        return await reply


async def heartbeat(client):
    while True:
        await asyncio.sleep(0.1)
        client.lines.put_nowait((-1, ""))


async def main():
    client = Client()
    listener = asyncio.create_task(client.listen())
    beat = asyncio.create_task(heartbeat(client))
    await client.call(1, "1")
    await asyncio.create_task(client.call(2, "two"), name="second call")
    listener.cancel()
    beat.cancel()
