# expect: OK
# The event is an attribute of a function, as decorators leave it there.
import asyncio


def with_event(function):
    function.called = asyncio.Event()
    return function


@with_event
def handler():
    handler.called.set()


async def dispatch(function):
    await asyncio.sleep(30)
    function.called.set()


async def main():
    @with_event
    def inner():
        pass

    task = asyncio.create_task(dispatch(inner))
    await asyncio.gather(inner.called.wait(), task)
