# expect: TASK_LEAK
# names: ask
# line: 20
# when: end
# Who asks gives up after a moment, but the question goes on, shielded, and waits for an answer that never comes.
import asyncio


class Exchange:
    def __init__(self):
        self.open = {}

    async def ask(self, number):
        answer = self.open[number] = asyncio.get_running_loop().create_future()
        return await answer

    async def price(self, number):
        try:
            async with asyncio.timeout(0.01):
                return await asyncio.shield(self.ask(number))
        except TimeoutError:
            return None


async def main():
    exchange = Exchange()
    for number in range(3_000):
        await exchange.price(number)


asyncio.run(main())
