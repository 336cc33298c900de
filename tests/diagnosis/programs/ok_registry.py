# expect: OK
# A future is resolved by another task, through a table of a shared object.
import asyncio


class Client:
    def __init__(self):
        self.waiting = {}

    async def ask(self, n):
        future = self.waiting[n] = asyncio.get_running_loop().create_future()
        return await future

    async def answers(self):
        await asyncio.sleep(10)
        for future in self.waiting.values():
            future.set_result(1)


async def main():
    client = Client()
    answering = asyncio.create_task(client.answers())
    await asyncio.gather(*(client.ask(n) for n in range(5)))
    await answering


if __name__ == "__main__":
    asyncio.run(main())
