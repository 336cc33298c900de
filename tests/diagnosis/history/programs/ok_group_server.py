# expect: OK
# names: -
# line: -
# when: hang
# A task group holds who accepts and a task for each call; one caller stays on the line, and the others hang up soon.
import asyncio


async def call(n):
    async with asyncio.timeout(600):
        await asyncio.sleep(600 if n == 3 else 0.05)


async def accept(group):
    n = 0
    while True:
        await asyncio.sleep(0.02)
        group.create_task(call(n))
        n += 1


async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(accept(group))


asyncio.run(main())
