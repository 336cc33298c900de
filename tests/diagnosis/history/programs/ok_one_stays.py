# expect: OK
# names: -
# line: -
# Ten hosts are asked; nine have nothing to say, and one is listened to from then on.
import asyncio


async def listen(host):
    if host != 4:
        return
    while True:
        await asyncio.sleep(0.2)


async def main():
    async with asyncio.TaskGroup() as group:
        for host in range(10):
            group.create_task(listen(host))


asyncio.run(main())
