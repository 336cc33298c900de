# expect: OK
# The event is looked up by a name that is made at run time.
import asyncio


class State:
    pass


async def set_later(state, which):
    await asyncio.sleep(10)
    getattr(state, "event_" + which).set()


async def main():
    state = State()
    state.event_up = asyncio.Event()
    setting = asyncio.create_task(set_later(state, "up"))
    await state.event_up.wait()
    await setting


if __name__ == "__main__":
    asyncio.run(main())
