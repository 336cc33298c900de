# expect: LOOP_BLOCKED
# names: compare-contracts|compare_contracts
# line: 27|36
# when: slow
# A comparison of two long texts is computed in the loop's thread; the pages of the other visitors
# stand still for as long as it takes.
import asyncio
import random


class Archive:
    def __init__(self, seed):
        self._random = random.Random(seed)

    def contract(self, changes):
        words = [f"clause{self._random.randrange(40)}" for _ in range(20_000)]
        for _ in range(changes):
            words[self._random.randrange(len(words))] = "amended"
        return words

    def distance(self, old, new):
        """The edit distance of Levenshtein."""
        above = list(range(len(new) + 1))
        for row, left in enumerate(old, start=1):
            current = [row]
            for column, right in enumerate(new):
                cost = above[column] + (left != right)
                current.append(min(cost, above[column + 1] + 1, current[column] + 1))
            above = current
        return above[-1]


async def compare_contracts(archive):
    await asyncio.sleep(0.2)
    old, new = archive.contract(0), archive.contract(500)
    changes = archive.distance(old, new)
    return f"{changes} changes"


async def visitor(number, seen):
    while True:
        await asyncio.sleep(0.02)
        seen[number] = seen.get(number, 0) + 1


async def log_rates(seen):
    while True:
        await asyncio.sleep(1)
        print(sum(seen.values()), "pages")


async def main():
    seen = {}
    others = [asyncio.create_task(visitor(n, seen), name=f"visitor-{n}") for n in range(12)]
    others.append(asyncio.create_task(log_rates(seen), name="rates"))
    archive = Archive(seed=7)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(compare_contracts(archive), name="compare-contracts")
    print(task.result())
    for other in others:
        other.cancel()


if __name__ == "__main__":
    asyncio.run(main())
