# expect: OK
# names: -
# line: -
# when: hang
# Subscribers wait at empty queues of their own until somebody publishes through a socket, which may
# be never; the broker runs until it is stopped.
import asyncio
import contextlib


class Broker:
    def __init__(self):
        self.topics = {}

    @contextlib.contextmanager
    def subscription(self, topic):
        queue = asyncio.Queue(maxsize=100)
        self.topics.setdefault(topic, set()).add(queue)
        try:
            yield queue
        finally:
            self.topics[topic].discard(queue)

    async def publish(self, topic, message):
        for queue in self.topics.get(topic, ()):
            await queue.put(message)

    async def serve(self, reader, writer):
        async for line in reader:
            topic, _, message = line.decode().partition(" ")
            await self.publish(topic, message)
        writer.close()


async def subscriber(broker, topic, seen):
    with broker.subscription(topic) as queue:
        while True:
            seen.append(await queue.get())


async def main():
    broker, seen = Broker(), []
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    async with server, asyncio.TaskGroup() as group:
        for number in range(6):
            topic = ("news", "sport")[number % 2]
            group.create_task(subscriber(broker, topic, seen), name=f"{topic}-{number}")
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"news the only one\n")
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
