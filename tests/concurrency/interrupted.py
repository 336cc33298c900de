"""Programs that Ctrl-C ends, for test_ctrl_c.py: ``python interrupted.py NAME FOLDER``. Each says what it does."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from spanloom import (
    CallbackManager,
    Checkpoint,
    async_map,
    partial_outcomes,
    run_sync,
    use_callback_manager,
)
from spanloom.evaluation import foreach

say = functools.partial(print, flush=True)
folder = Path(sys.argv[2])
started: list[int] = []
# Of all that asyncio says in its debug mode, how slow the machine is is not what is looked for.
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))


def checkpoint(name: str = "results.db", grace_s: float | None = 20) -> Checkpoint:
    return Checkpoint(folder / name, grace_s=grace_s)


def say_handler(when: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        say(when, "default")
    elif isinstance(handler, functools.partial):
        say(when, "Runner")
    else:
        say(when, getattr(handler, "__name__", handler))


async def job(number: int) -> int:
    """Run until the test says so, or for a long time."""
    say("start", number)
    started.append(number)
    try:
        while not (folder / "go").exists():
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        say("cancelled", number)
        raise
    say("end", number)
    return number


async def batch(first: int = 0, *, name: str = "results.db", grace_s: float | None = 20) -> list[int]:
    return await async_map(job, range(first, first + 10), limit=2, checkpoint=checkpoint(name, grace_s))


def rows() -> None:
    """Plain functions, which hold up the loop that they run in."""

    @foreach("number", range(10))
    def row(number: int) -> int:
        try:
            say("start", number)
            while number == 1:  # a Ctrl-C that comes before a longer sleep would be seen after it
                time.sleep(0.01)
        except KeyboardInterrupt:
            say("interrupted", number)
            raise
        return number

    with use_callback_manager(CallbackManager()) as manager:
        try:
            row()
        finally:
            say("open", manager.stats().open)


async def in_a_loop() -> None:
    """Blocks its own loop; what runs meanwhile is not in the main thread, where SIGINT is."""
    try:
        run_sync(async_map(job, range(10), limit=2))
    finally:
        say("alive", *(thread.name for thread in threading.enumerate() if "run_sync" in thread.name))


def in_a_callback() -> None:
    """The same, where no task is held up: asyncio's handler cancels the main task, and raises at the second time."""

    async def main() -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        handle = signal.getsignal(signal.SIGINT)
        assert callable(handle)

        def heard(number: int, frame: object) -> None:
            handle(number, frame)
            say("heard")

        signal.signal(signal.SIGINT, heard)

        def call() -> None:
            asyncio.get_running_loop().call_soon(called.cancel)
            try:
                run_sync(async_map(job, range(10), limit=2))
            finally:
                say("alive", *(thread.name for thread in threading.enumerate() if "run_sync" in thread.name))

        asyncio.get_running_loop().call_soon(call)
        await called

    asyncio.run(main())


async def plain() -> None:
    try:
        await batch()
    except KeyboardInterrupt as error:
        say("class", type(error).__name__)
        say("outcomes", [(each.index, each.value, each.status) for each in partial_outcomes(error)])
        say("says", error)
        say_handler("inside")
        raise


async def caught() -> None:
    try:
        await batch()
    except KeyboardInterrupt as error:
        say("outcomes", len(partial_outcomes(error)))
    say("returned", len(await batch()))


async def no_grace() -> None:
    await batch(grace_s=0.1)


async def left_alone() -> None:
    await batch(grace_s=None)


async def gathered() -> None:
    await asyncio.gather(batch(), batch(100, name="others.db"))


async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(batch())
        group.create_task(batch(100, name="others.db"))


async def nested() -> None:
    async def outer(number: int) -> list[int]:
        try:
            return await batch(100 * number)
        except KeyboardInterrupt as error:
            say("inner", number, len(partial_outcomes(error)))
            raise

    await async_map(outer, range(1, 5), limit=2, checkpoint=checkpoint())


async def without_a_checkpoint_inside() -> None:
    async def outer(number: int) -> list[int]:
        return await async_map(job, range(100 * number, 100 * number + 2), limit=1)

    await async_map(outer, range(1, 5), limit=1, checkpoint=checkpoint())


async def failing() -> None:
    async def fails(number: int) -> int:
        await job(number)
        raise ValueError(number)

    try:
        await async_map(fails, range(10), limit=2, checkpoint=checkpoint())
    except KeyboardInterrupt as error:
        say("outcomes", [(each.index, repr(each.error), each.status) for each in partial_outcomes(error)])
        raise


async def blocking(grace_s: float = 20) -> None:
    async def blocks(number: int) -> None:
        say("start", number)
        for _ in range(6_000):  # not once: a signal that comes just before a sleep does not end it
            time.sleep(0.01)

    await async_map(blocks, range(3), limit=1, checkpoint=checkpoint(grace_s=grace_s))


async def blocking_for_too_long() -> None:
    await blocking(0.5)


async def stubborn() -> None:
    async def ignores(number: int) -> int:
        say("start", number)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            say("ignored", number)
            while not (folder / "go").exists():
                await asyncio.sleep(0.01)
        say("end", number)
        return number

    await async_map(ignores, range(4), limit=2, checkpoint=checkpoint())


async def own_handler() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: say("own handler"))
    say("returned", len(await batch()))


async def waiting_for_input() -> None:
    async def slow() -> Any:
        yield 0
        say("waiting")
        await asyncio.sleep(60)

    try:
        await async_map(job, slow(), limit=3, checkpoint=checkpoint())
    except KeyboardInterrupt as error:
        say("outcomes", len(partial_outcomes(error)))
        raise


def in_a_thread() -> None:
    def target() -> None:
        say("returned", len(asyncio.run(batch())))

    thread = threading.Thread(target=target)
    thread.start()
    while thread.is_alive():  # join() would not work any more, once it was interrupted
        try:
            time.sleep(0.01)
        except KeyboardInterrupt:
            say("main interrupted")


def between() -> None:
    async def main() -> None:
        (folder / "go").touch()
        await batch()
        say_handler("between")
        say("start of the pause")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            say("main cancelled")
            raise

    asyncio.run(main())


def by_run_sync() -> None:
    run_sync(plain())


def by_uvloop() -> None:
    import uvloop

    uvloop.run(plain())


def without_a_runner() -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(plain())
    finally:
        loop.close()


def broken_off() -> None:
    """Another task ends the loop while the batch runs; the handler must be Python's own afterwards."""

    async def main() -> None:
        async def leave() -> None:
            while len(started) < 2:
                await asyncio.sleep(0.01)
            raise SystemExit(5)

        tasks.append(asyncio.ensure_future(leave()))
        await batch()

    tasks: list[Any] = []
    try:
        asyncio.run(main())
    except SystemExit as error:
        say("the same", tasks[0].exception() is error)
        say_handler("after")
        asyncio.run(plain())


def main() -> None:
    program: Any = globals()[sys.argv[1]]
    try:
        made = program() if not inspect.iscoroutinefunction(program) else asyncio.run(program())
        assert not isinstance(made, Coroutine)
    finally:
        say_handler("after")


if __name__ == "__main__":
    main()
