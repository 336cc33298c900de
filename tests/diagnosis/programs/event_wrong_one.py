# expect: EVENT_NEVER_SET
# names: ready
# Everyone waits for an event that the loader, which shares the object, never names.
import asyncio


class State:
    def __init__(self):
        self.loaded = asyncio.Event()
        self.ready = asyncio.Event()
        self.beats = 0


async def load(state):
    await asyncio.sleep(0.01)
    state.loaded.set()


async def serve(state):
    await state.ready.wait()


async def monitor(state):
    while True:
        await asyncio.sleep(0.02)
        state.beats += 1


async def main():
    state = State()
    watching = asyncio.create_task(monitor(state), name="monitor")
    loading = asyncio.create_task(load(state), name="loader")
    servers = [asyncio.create_task(serve(state), name=f"server-{n}") for n in range(2)]
    await asyncio.wait(servers)
    watching.cancel()
    await loading


if __name__ == "__main__":
    asyncio.run(main())
