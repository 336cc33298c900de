# expect: OK
# Two tasks notify each other.
import asyncio


class Table:
    def __init__(self):
        self.condition = asyncio.Condition()
        self.turn = 0


async def play(table, mine):
    while True:
        async with table.condition:
            await table.condition.wait_for(lambda: table.turn == mine)
            await asyncio.sleep(0.01)
            table.turn = 1 - mine
            table.condition.notify_all()


async def main():
    table = Table()
    await asyncio.gather(play(table, 0), play(table, 1))


if __name__ == "__main__":
    asyncio.run(main())
