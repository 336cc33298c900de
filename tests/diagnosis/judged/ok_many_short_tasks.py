# expect: OK
# names: -
# line: -
# when: end
# A hundred tasks a second are made and live for two seconds each; their number rises at first and
# then stays what it is. Three hundred long connections were opened at the start.
import asyncio


class Gateway:
    def __init__(self):
        self.connections = []
        self.requests = set()
        self.handled = 0

    async def connection(self, number):
        while True:
            await asyncio.sleep(15 + number % 7)

    async def request(self):
        await asyncio.sleep(2)
        self.handled += 1

    def open(self, count):
        self.connections = [
            asyncio.create_task(self.connection(n), name=f"connection-{n}") for n in range(count)
        ]

    async def serve(self, seconds):
        for _ in range(seconds * 100):
            task = asyncio.create_task(self.request())
            self.requests.add(task)
            task.add_done_callback(self.requests.discard)
            await asyncio.sleep(0.009)


async def main():
    gateway = Gateway()
    gateway.open(300)
    await gateway.serve(18)
    for task in gateway.connections:
        task.cancel()
    print(gateway.handled, "requests")


if __name__ == "__main__":
    asyncio.run(main())
