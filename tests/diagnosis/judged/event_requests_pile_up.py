# expect: EVENT_NEVER_SET
# names: handle, warm_up
# line: 21
# when: hang
# Requests come steadily and wait for a warm-up that has failed.
import asyncio


class App:
    def __init__(self):
        self.warm = asyncio.Event()
        self.tasks = []

    async def warm_up(self):
        await asyncio.sleep(0.05)
        if not self.tasks[0].cancelled():
            raise OSError("no cache")
        self.warm.set()

    async def handle(self):
        await self.warm.wait()


async def main():
    app = App()
    app.tasks.append(asyncio.create_task(app.warm_up()))
    while True:
        app.tasks.append(asyncio.create_task(app.handle()))
        await asyncio.sleep(0.03)


asyncio.run(main())
