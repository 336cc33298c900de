# expect: EVENT_NEVER_SET
# names: player-1|player-2|play
# line: 30|36
# when: hang
# Each round has a new event; the referee makes it before the slowest player has looked at the old
# one, and never sets that, because it only knows the new one.
import asyncio


class Game:
    def __init__(self, players):
        self.players = players
        self.round = 0
        self._round_over = asyncio.Event()
        self.moves = []

    def next_round(self):
        self.round += 1
        self._round_over = asyncio.Event()

    def finish_round(self):
        self._round_over.set()

    async def move(self, player, thinking):
        await asyncio.sleep(thinking)
        self.moves.append((self.round, player))

    async def until_round_is_over(self):
        over = self._round_over
        await over.wait()


async def play(game, player, thinking, rounds):
    for _ in range(rounds):
        await game.move(player, thinking)
        await game.until_round_is_over()
    return player


async def referee(game, rounds):
    for _ in range(rounds):
        await asyncio.sleep(0.1)
        if game.round == 3:
            game.next_round()
            game.finish_round()
            await asyncio.sleep(0.05)
            continue
        game.finish_round()
        game.next_round()
    await asyncio.sleep(0.1)
    game.finish_round()


async def main():
    game = Game(3)
    refereeing = asyncio.create_task(referee(game, 6), name="referee")
    async with asyncio.TaskGroup() as group:
        for number, thinking in enumerate((0.01, 0.02, 0.03)):
            group.create_task(play(game, number, thinking, 3 + number), name=f"player-{number}")
    await refereeing
    print(len(game.moves), "moves")


if __name__ == "__main__":
    asyncio.run(main())
