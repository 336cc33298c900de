# expect: EVENT_NEVER_SET
# names: opened, open_gate
# line: 22
# The task that would have set it caught its error and is gone: what is left to tell is the function that sets it.
import asyncio


class Gate:
    def __init__(self, code):
        self.opened = asyncio.Event()
        self.code = code

    async def open_gate(self, entered):
        await asyncio.sleep(0.01)
        if entered != self.code:
            raise PermissionError("wrong code")
        self.opened.set()

    async def pass_through(self):
        await asyncio.sleep(0)
        await self.opened.wait()


async def guarded(coroutine, log):
    try:
        await coroutine
    except Exception as error:
        log.append(str(error))


async def main():
    gate, log = Gate(1234), []
    async with asyncio.TaskGroup() as group:
        group.create_task(guarded(gate.open_gate(4321), log))
        group.create_task(gate.pass_through(), name="visitor")


if __name__ == "__main__":
    asyncio.run(main())
