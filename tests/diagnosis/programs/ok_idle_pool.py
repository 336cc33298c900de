# expect: OK
# Workers wait at an empty queue; the server that fills it has no visitor.
import asyncio


class Service:
    def __init__(self):
        self.jobs = asyncio.Queue()

    async def work(self):
        while True:
            await self.jobs.get()

    async def visited(self, reader, writer):
        await self.jobs.put(await reader.readline())


async def main():
    service = Service()
    workers = [asyncio.create_task(service.work()) for _ in range(3)]
    async with await asyncio.start_server(service.visited, "127.0.0.1", 0) as server:
        await server.serve_forever()
    for worker in workers:
        worker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
