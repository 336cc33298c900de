# expect: TASK_LEAK
# names: query
# line: 48
# when: end
# The deadline ends the wait, and the shield keeps the query: each request that is given up leaves one
# behind that reads from a socket on which nothing will come.
import asyncio


class SilentReplica:
    async def start(self):
        self.connections = []
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()

    def _accept(self, reader, writer):
        self.connections.append(writer)


class Replica:
    """One connection, multiplexed."""

    def __init__(self, address):
        self.address = address
        self._connection = None
        self._reading = {}

    async def connect(self):
        self._connection = await asyncio.open_connection(*self.address)

    async def query(self, key):
        arrived = self._reading[key] = asyncio.get_running_loop().create_future()
        self._connection[1].write(f"get {key}\n".encode())
        return await arrived

    async def read_replies(self):
        while line := await self._connection[0].readline():
            key, _, value = line.decode().partition(" ")
            self._reading.pop(key).set_result(value)


class Store:
    def __init__(self, replica):
        self.replica = replica
        self.fallbacks = 0

    async def get(self, key):
        asking = asyncio.ensure_future(self.replica.query(key))
        try:
            return await asyncio.wait_for(asyncio.shield(asking), 0.02)
        except TimeoutError:
            self.fallbacks += 1
            return "default"


async def handle_requests(store, worker):
    for number in range(4_000):
        await store.get(f"{worker}:{number}")
        await asyncio.sleep(0.01)


async def main():
    replica = Replica(await SilentReplica().start())
    await replica.connect()
    reading = asyncio.create_task(replica.read_replies(), name="replies")
    store = Store(replica)
    await asyncio.gather(
        *(asyncio.create_task(handle_requests(store, n), name=f"worker-{n}") for n in range(3))
    )
    reading.cancel()


if __name__ == "__main__":
    asyncio.run(main())
