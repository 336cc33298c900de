# expect: OK
# What is waited for is given on leaving a manager: a class's, a decorator's, one on an exit stack.
import asyncio
import contextlib


class Says:
    def __init__(self, event):
        self.event = event

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.event.set()


class Turn(contextlib.ContextDecorator):
    def __init__(self, seats):
        self.seats = seats

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.seats.release()


async def announce(says):
    await asyncio.sleep(2)
    with says:
        pass


async def decorated(turn):
    @turn
    def leave():
        return None

    await asyncio.sleep(2)
    leave()


async def stacked(barrier):
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.sleep(2)
        await stack.enter_async_context(barrier)


async def wait(event):
    await event.wait()


async def come(barrier):
    async with barrier:
        pass


async def sit(seats):
    await seats.acquire()


async def main():
    event, seats, barrier = asyncio.Event(), asyncio.Semaphore(0), asyncio.Barrier(2)
    async with asyncio.TaskGroup() as group:
        group.create_task(announce(Says(event)))
        group.create_task(decorated(Turn(seats)))
        group.create_task(stacked(barrier))
        for job in (wait(event), come(barrier), sit(seats)):
            group.create_task(job)


if __name__ == "__main__":
    asyncio.run(main())
