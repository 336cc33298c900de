# expect: STRAGGLER
# names: part-3
# line: 16|22
# when: slow
# Tasks that are awaited one after the other; the third has been waiting for a thread for long.
import asyncio
import time


def crunch(n):
    time.sleep(40 if n == 3 else 0.02)
    return n


async def part(n):
    return await asyncio.to_thread(crunch, n)


async def main():
    tasks = [asyncio.create_task(part(n), name=f"part-{n}") for n in range(12)]
    for task in tasks:
        await task


asyncio.run(main())
