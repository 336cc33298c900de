# expect: OK
# names: -
# line: -
# when: end
# Jobs of a group queue for three slots and take from a moment to a second; nobody is late by much.
import asyncio


async def part(slots, n):
    async with slots:
        await asyncio.sleep(0.05 + (n % 7) * 0.16)


async def main():
    slots = asyncio.Semaphore(3)
    for start in range(0, 400, 20):
        async with asyncio.TaskGroup() as group:
            for n in range(start, start + 20):
                group.create_task(part(slots, n))


asyncio.run(main())
