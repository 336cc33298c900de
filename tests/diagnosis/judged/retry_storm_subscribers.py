# expect: RETRY_STORM
# names: subscribe|connect|follow, ConnectionRefusedError
# line: 22|29|37|39
# when: hang
# The broker is down; a dozen subscribers connect again as soon as they are refused, several thousand
# times a second, and nothing slows them down.
import asyncio
import contextlib
import socket


class Subscriber:
    def __init__(self, topic, address):
        self.topic = topic
        self.address = address
        self.attempts = 0
        self.messages = []

    @contextlib.asynccontextmanager
    async def connect(self):
        self.attempts += 1
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def subscribe(self):
        async with self.connect() as (reader, writer):
            writer.write(f"SUB {self.topic}\n".encode())
            async for line in reader:
                self.messages.append(line)

    async def follow(self):
        while True:
            try:
                await self.subscribe()
            except OSError:
                await asyncio.sleep(0.001)


def unused_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()


async def count(subscribers):
    while True:
        await asyncio.sleep(1)
        print(sum(s.attempts for s in subscribers), "attempts")


async def main():
    address = unused_address()
    subscribers = [Subscriber(topic, address) for topic in "news sport music chess".split() * 3]
    async with asyncio.TaskGroup() as group:
        for number, subscriber in enumerate(subscribers):
            group.create_task(subscriber.follow(), name=f"subscriber-{number}")
        group.create_task(count(subscribers), name="count")


if __name__ == "__main__":
    asyncio.run(main())
