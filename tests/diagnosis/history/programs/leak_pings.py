# expect: TASK_LEAK
# names: ping
# line: 12|15
# when: end
# Every request starts a pinger that nobody stops.
import asyncio


class Connection:
    async def ping(self):
        while True:
            await asyncio.sleep(0.5)

    def open(self):
        self.task = asyncio.get_running_loop().create_task(self.ping())


async def main():
    connections = []
    for _ in range(1_500):
        connection = Connection()
        connection.open()
        connections.append(connection)
        await asyncio.sleep(0.04)


asyncio.run(main())
