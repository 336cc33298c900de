# expect: OK
# names: -
# The method that sets the event is looked up by a name that is put together.
import asyncio


class Actions:
    def __init__(self):
        self.opened = asyncio.Event()

    def do_open(self):
        self.opened.set()


async def interpret(actions, script):
    for seconds, word in script:
        await asyncio.sleep(seconds)
        getattr(actions, f"do_{word}")()


async def main():
    actions = Actions()
    async with asyncio.TaskGroup() as group:
        group.create_task(interpret(actions, [(30, "open")]))
        group.create_task(actions.opened.wait())


asyncio.run(main())
