"""A program on a patched asyncio does what it does on the real one.

Each program here is run on both, on every kind of loop there is; what it returns is compared.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import pickle
import sys
import traceback
import warnings
from asyncio import gather as gather_by_name
from collections.abc import Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

import spanloom
from spanloom import CallbackManager, use_callback_manager

Program = Callable[[], Awaitable[object]]


async def pause(delay: float) -> None:
    """Wait, in turns of the loop rather than time unless it is for ever: the order does not depend on the machine."""
    if delay >= 0.5:
        await asyncio.sleep(delay)
    for _ in range(1 + round(delay * 3_000)):
        await asyncio.sleep(0)


async def give(value: object, delay: float = 0.0) -> object:
    await pause(delay)
    return value


async def fail(message: str, delay: float = 0.0) -> None:
    await pause(delay)
    raise ValueError(message)


class Custom:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "custom"


class Group(asyncio.TaskGroup):
    """A group that counts what it starts, and has no hash."""

    __hash__ = None

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group)

    def create_task(self, coro: Any, **options: Any) -> Any:
        self.count += 1
        return super().create_task(coro, **options)


def told(error: BaseException | None) -> object:
    """Return an exception as something that can be compared, with the functions of its traceback."""
    if error is None:
        return None
    inside = [told(each) for each in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    frames = [(frame.filename, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    return type(error).__name__, str(error), frames, inside


async def outcome(aw: Awaitable[object]) -> object:
    try:
        return await aw
    except BaseException as error:  # a cancel, too: it is compared
        return told(error)


# -- gather ----------------------------------------------------------------------------------------------------


async def gathers_every_kind_of_awaitable() -> object:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, "future")
    task = asyncio.create_task(give("task"))
    return await asyncio.gather(give("coroutine"), future, task, Custom(), asyncio.gather(give(1), give(2)))


class Same:
    """An awaitable that is equal to all of its kind, and counts how often one is awaited."""

    count = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same)

    def __hash__(self) -> int:
        return 1

    def __await__(self) -> Generator[Any, None, int]:
        Same.count += 1
        yield from asyncio.sleep(0).__await__()
        return Same.count


class Unhashable(Custom):
    __hash__ = None


async def gathers_what_is_equal_once() -> object:
    Same.count = 0
    return await asyncio.gather(Same(), give("other"), Same()), await outcome(asyncio.wait_for(Same(), 1))


async def gathers_what_has_no_hash() -> object:
    found = []
    for start in (asyncio.gather, lambda *aws: list(asyncio.as_completed(aws))):
        try:
            start(Unhashable())
        except TypeError as error:
            found.append(str(error))
    return found


async def leaves_what_it_takes_as_completed() -> object:
    """Who is told of a task that is destroyed while it is pending."""
    tasks = asyncio.all_tasks()
    taken = iter(asyncio.as_completed([give(1, 10), give(2, 10)]))
    next(taken).close()  # up to 3.12 nothing has started before
    left = [each for each in asyncio.all_tasks() if each not in tasks]
    told_of = [getattr(each, "_log_destroy_pending", None) for each in left]
    for each in left:
        each.cancel()
    await asyncio.wait(left)
    del taken
    return len(left), told_of


async def gathers_a_generator_in_order_of_input() -> object:
    return await asyncio.gather(*(give(n, (5 - n) / 1000) for n in range(5)))


async def gathers_by_a_name_got_before() -> object:
    return await gather_by_name(give(1), give(2))


async def gathers_nothing() -> object:
    return await asyncio.gather()


async def gathers_one_thing_twice() -> object:
    once = give("once")
    return await asyncio.gather(once, give("other"), once)


async def gathers_in_a_loop_that_has_been_patched() -> object:
    loop: Any = asyncio.get_running_loop()
    create, names = loop.create_task, []

    def create_task(coro: Any, *, name: Any = None) -> Any:
        names.append(coro.__name__)
        return create(coro, name=name)

    try:
        loop.create_task = create_task
    except AttributeError:  # one of uvloop has no attributes of its own
        return None
    try:
        return await asyncio.gather(give(1), give(2)), await asyncio.create_task(give(3)), names
    finally:
        del loop.create_task


async def gathers_inside_gather() -> object:
    async def inner(n: int) -> object:
        return await asyncio.gather(*(give((n, m)) for m in range(3)))

    return await asyncio.gather(*(inner(n) for n in range(3)))


async def raises_the_first_failure_and_lets_the_others_run() -> object:
    log: list[str] = []

    async def late() -> None:
        await pause(0.01)
        log.append("late")

    found = await outcome(asyncio.gather(fail("first"), fail("second", 0.001), late()))
    await pause(0.02)
    return found, log


async def returns_exceptions() -> object:
    results = await asyncio.gather(give(1), fail("x"), give(2), return_exceptions=True)
    return [told(each) if isinstance(each, BaseException) else each for each in results]


async def a_child_that_is_cancelled() -> object:
    tasks = [asyncio.create_task(give(n, 0.05)) for n in range(3)]
    outer = asyncio.gather(*tasks)
    await asyncio.sleep(0)
    tasks[1].cancel("enough")
    found = await outcome(outer)
    return found, [await outcome(task) for task in tasks]


async def cancels_the_outer_future() -> object:
    log: list[object] = []

    async def child(n: int) -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError as error:
            log.append((n, str(error)))
            raise

    outer = asyncio.gather(*(child(n) for n in range(3)))
    await pause(0.001)
    outer.cancel("now")
    return await outcome(outer), log


async def cancels_before_the_first_step() -> object:
    outer = asyncio.gather(give(1), give(2))
    return outer.cancel(), await outcome(outer)


async def closes_and_cancels_what_has_not_begun() -> object:
    loop = asyncio.get_running_loop()
    found: list[object] = []
    for make in (lambda: asyncio.to_thread(len, ""), lambda: asyncio.wait_for(loop.create_future(), 1)):
        make().close()
        task = loop.create_task(make())
        task.cancel()
        await asyncio.wait([task])
        found.append(task.cancelled())
    return found, await asyncio.gather(give(1))  # for an event


async def cancels_the_task_that_waits() -> object:
    async def wait() -> object:
        return await asyncio.gather(give(1, 1), give(2, 1))

    task = asyncio.create_task(wait())
    await pause(0.001)
    task.cancel()
    return await outcome(task)


async def names_tasks() -> object:
    names: list[str] = []

    async def named() -> None:
        names.append(asyncio.current_task().get_name().rpartition("-")[0])

    await asyncio.gather(named(), named())
    task = asyncio.create_task(named(), name="mine-1")
    await task
    async with asyncio.TaskGroup() as group:
        group.create_task(named(), name="ours-1")
    return names, task.get_name()


async def keeps_coroutines_and_their_stacks() -> object:
    async def look() -> None:
        await pause(0.002)

    running = [asyncio.gather(look(), look()), asyncio.create_task(look())]
    await asyncio.sleep(0)
    seen: list[object] = []
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        coroutine: Any = task.get_coro()
        names = [coroutine.__qualname__]
        while inspect.iscoroutine(coroutine):  # down to what it waits for
            names.append(coroutine.cr_code.co_qualname)
            coroutine = coroutine.cr_await
        seen.append((names, [frame.f_code.co_name for frame in task.get_stack()]))
    for each in running:
        await each
    return sorted(map(str, seen))


async def first_steps_are_in_order() -> object:
    log: list[object] = []

    async def step(n: int) -> None:
        log.append(n)
        await asyncio.sleep(0)
        log.append(-n)

    loop = asyncio.get_running_loop()
    loop.call_soon(log.append, "before")
    outer = asyncio.gather(*(step(n) for n in range(1, 4)))
    loop.call_soon(log.append, "after")
    await outer
    return log


async def a_thing_that_is_not_awaitable() -> object:
    log: list[str] = []

    async def run() -> None:
        log.append("ran")

    try:
        await asyncio.gather(run(), 5)
    except TypeError as error:
        await asyncio.sleep(0)
        return str(error), log
    return "no error"


async def contexts_are_copies() -> object:
    var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)
    var.set(1)

    async def change(n: int) -> tuple[int, int]:
        before = var.get()
        var.set(n)
        await asyncio.sleep(0)
        return before, var.get()

    found = await asyncio.gather(*(change(n) for n in range(3)))
    own = contextvars.copy_context()
    own.run(var.set, 7)
    task = asyncio.create_task(change(9), context=own)
    return found, await task, own[var], var.get()


async def exceptions_that_nobody_retrieves() -> object:
    said: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))
    lost = [
        asyncio.create_task(fail("lost")),
        asyncio.ensure_future(fail("lost as well")),
        asyncio.gather(fail("lost, too")),
    ]
    await pause(0.005)
    lost.clear()
    gc.collect()
    await asyncio.sleep(0)
    return sorted(said)


# -- groups ----------------------------------------------------------------------------------------------------


async def a_group() -> object:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(give(n)) for n in range(3)]
    return [task.result() for task in tasks]


async def a_group_that_fails() -> object:
    ended: list[object] = []

    async def sleeper() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            ended.append("sleeper")

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper())
            group.create_task(fail("in the group", 0.001))

    return await outcome(run()), ended


async def a_group_that_grows_while_it_ends() -> object:
    done: list[int] = []

    async def grow(group: asyncio.TaskGroup, n: int) -> None:
        await asyncio.sleep(0)
        done.append(n)
        if n:
            group.create_task(grow(group, n - 1))

    async with asyncio.TaskGroup() as group:
        group.create_task(grow(group, 3))
    return done


async def a_group_that_is_over() -> object:
    async with asyncio.TaskGroup() as group:
        pass
    late = give(1)
    try:
        group.create_task(late)
    except RuntimeError as error:
        return type(error).__name__
    finally:
        late.close()
    return "no error"


async def a_group_of_a_class_of_ones_own() -> object:
    async with Group() as group:
        tasks = [group.create_task(give(n), name=f"n-{n}") for n in range(3)]
    return group.count, [task.result() for task in tasks], [task.get_name() for task in tasks]


# -- waiting ---------------------------------------------------------------------------------------------------


async def waits() -> object:
    tasks = {asyncio.create_task(give(n, n / 500)) for n in range(4)}
    seen: list[object] = []
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        seen.extend(task.result() for task in done)
    return seen


async def waits_for_coroutines() -> object:
    work = give(1)
    try:
        return await outcome(asyncio.wait([work]))
    finally:
        work.close()


async def waits_for_one() -> object:
    return (
        await asyncio.wait_for(give(1), 1),
        await asyncio.wait_for(give(2), None),
        await asyncio.wait_for(timeout=1, fut=give(4)),
        await outcome(asyncio.wait_for(give(3, 1), 0.002)),
        await outcome(asyncio.wait_for(fail("inside"), 1)),
    )


async def takes_what_is_completed() -> object:
    taken = [await first for first in asyncio.as_completed([give(n, n / 200) for n in (3, 1, 2)])]
    late: list[object] = []
    for first in asyncio.as_completed([give(1), give(2, 1)], timeout=0.1):
        late.append((await outcome(first)) if not late else type(await caught(first)).__name__)
    return taken, late


async def complains_of_what_it_cannot_take() -> object:
    def breaks() -> Iterator[Awaitable[object]]:
        yield asyncio.get_running_loop().create_future()
        raise LookupError("while it is read")

    said: list[object] = []
    for make in (
        lambda: asyncio.ensure_future(5),
        lambda: list(asyncio.as_completed(5)),
        lambda: list(asyncio.as_completed([5])),
        lambda: list(asyncio.as_completed(breaks())),
    ):
        try:
            make()
        except (TypeError, LookupError) as error:
            frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
            said.append((type(error).__name__, str(error), frames[:2], frames[-1]))
    return said


async def notes_where_tasks_are_created() -> object:
    tasks = [asyncio.create_task(give(1)), asyncio.ensure_future(give(2))]
    outer = asyncio.gather(give(3))
    tasks += asyncio.all_tasks() - {asyncio.current_task(), *tasks}
    found = [
        [
            frame.name
            for frame in getattr(task, "_source_traceback", None) or ()
            if "asyncio" not in Path(frame.filename).parts
        ][-2:]
        for task in tasks
    ]
    await asyncio.gather(outer, *tasks)
    return found


async def caught(aw: Awaitable[object]) -> BaseException | None:
    try:
        await aw
    except Exception as error:
        return error
    return None


async def deadlines() -> object:
    async def late() -> None:
        async with asyncio.timeout(0.002) as block:
            assert block.when() is not None
            await asyncio.sleep(1)

    async def moved() -> bool:
        async with asyncio.timeout(0.001) as block:
            block.reschedule(None)
            await pause(0.005)
        return block.expired()

    async def inner() -> object:
        async with asyncio.timeout(1), asyncio.timeout_at(asyncio.get_running_loop().time() + 0.002):
            await asyncio.sleep(1)

    return await outcome(late()), await moved(), await outcome(inner())


async def threads() -> object:
    var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)
    var.set(3)

    def broken() -> None:
        raise KeyError("in the thread")

    return await asyncio.to_thread(var.get), (await outcome(asyncio.to_thread(broken)))


async def semaphores() -> object:
    log: list[object] = []
    semaphore = asyncio.BoundedSemaphore(2)

    async def worker(n: int) -> int:
        async with semaphore:
            log.append(n)
            await pause(0.001)
            log.append(-n)
        return n

    found = await asyncio.gather(*(worker(n) for n in range(1, 6)))
    task = asyncio.create_task(worker(9))
    async with semaphore, semaphore:
        await pause(0.001)
        task.cancel()
        cancelled = await outcome(task)
    return found, log, cancelled, semaphore.locked()


PROGRAMS: list[Program] = [
    gathers_what_is_equal_once,
    gathers_what_has_no_hash,
    leaves_what_it_takes_as_completed,
    gathers_every_kind_of_awaitable,
    gathers_a_generator_in_order_of_input,
    gathers_by_a_name_got_before,
    gathers_nothing,
    gathers_one_thing_twice,
    gathers_in_a_loop_that_has_been_patched,
    gathers_inside_gather,
    raises_the_first_failure_and_lets_the_others_run,
    returns_exceptions,
    a_child_that_is_cancelled,
    cancels_the_outer_future,
    cancels_before_the_first_step,
    closes_and_cancels_what_has_not_begun,
    cancels_the_task_that_waits,
    names_tasks,
    keeps_coroutines_and_their_stacks,
    first_steps_are_in_order,
    a_thing_that_is_not_awaitable,
    contexts_are_copies,
    exceptions_that_nobody_retrieves,
    a_group,
    a_group_that_fails,
    a_group_that_grows_while_it_ends,
    a_group_that_is_over,
    a_group_of_a_class_of_ones_own,
    waits,
    waits_for_coroutines,
    waits_for_one,
    takes_what_is_completed,
    complains_of_what_it_cannot_take,
    notes_where_tasks_are_created,
    deadlines,
    threads,
    semaphores,
]


SILENT = (
    gathers_nothing,
    gathers_what_has_no_hash,
    a_thing_that_is_not_awaitable,
    complains_of_what_it_cannot_take,
    waits_for_coroutines,
    a_group_that_is_over,
)
"""Those that run nothing, or nothing that can be known."""


def factory_loop(factory: Any) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(factory)
    return loop


def debug_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    return loop


def plain_factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """Make tasks as loops themselves do."""
    return asyncio.Task(coro, loop=loop, **options)


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "debug": debug_loop,
    "uvloop": uvloop.new_event_loop,
    "factory": lambda: factory_loop(plain_factory),
}
if sys.version_info >= (3, 12):
    LOOPS["eager"] = lambda: factory_loop(asyncio.eager_task_factory)


def run(program: Program, loop: str) -> object:
    with warnings.catch_warnings(record=True) as said, asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        warnings.simplefilter("always")
        found = runner.run(program())
    return found, sorted(str(each.message) for each in said)


CASES = [(program, loop) for program in PROGRAMS for loop in LOOPS]


@pytest.fixture(scope="module")
def expected() -> dict[tuple[Program, str], object]:
    """What the programs do on the real asyncio."""
    assert spanloom.instrumented() == ()
    return {(program, loop): run(program, loop) for program, loop in CASES}


@pytest.fixture(scope="module")
def patched_after(expected: object) -> Iterator[None]:
    spanloom.instrument("asyncio", "asyncio.sync")
    yield
    spanloom.uninstrument()


@pytest.mark.parametrize(("program", "loop"), CASES, ids=lambda each: getattr(each, "__name__", each))
def test_a_program_does_the_same(
    program: Program, loop: str, expected: dict[tuple[Program, str], object], patched_after: None
) -> None:
    """Results, exceptions with their tracebacks, order, cancels, names, stacks and warnings are the same."""
    manager = CallbackManager()
    with use_callback_manager(manager):
        assert run(program, loop) == expected[program, loop]
    assert manager.stats().open == 0
    assert manager.recorder is not None
    assert len(manager.recorder) or program in SILENT


def test_the_real_one_is_back(expected: dict[tuple[Program, str], object]) -> None:
    """After `uninstrument` the programs do what they did before, and have no events."""
    spanloom.uninstrument()
    manager = CallbackManager()
    with use_callback_manager(manager):
        for program in PROGRAMS:
            assert run(program, "asyncio") == expected[program, "asyncio"]
    assert manager.stats().produced == 0


@pytest.fixture
def patched_names() -> Iterator[None]:
    spanloom.instrument("asyncio")
    yield
    spanloom.uninstrument()


FUNCTIONS = [
    "gather",
    "create_task",
    "ensure_future",
    "wait",
    "wait_for",
    "as_completed",
    "to_thread",
    "timeout",
    "timeout_at",
]
METHODS = [
    (asyncio.TaskGroup, "create_task"),
    (asyncio.TaskGroup, "__aenter__"),
    (asyncio.TaskGroup, "__aexit__"),
    (asyncio.Timeout, "__aenter__"),
    (asyncio.Timeout, "__aexit__"),
    (asyncio.Semaphore, "acquire"),
]


def seen(function: Any) -> list[object]:
    return [
        inspect.signature(function),
        inspect.iscoroutinefunction(function),
        asyncio.iscoroutinefunction(function) if sys.version_info < (3, 14) else None,
        inspect.isgeneratorfunction(function),
        inspect.isfunction(function),
        inspect.getdoc(function),
        inspect.getsourcefile(inspect.unwrap(function)),
        function.__name__,
        function.__qualname__,
        function.__module__,
        isinstance(function, type(seen)),
    ]


def test_functions_look_the_same() -> None:
    """Whatever `inspect` can tell of a patched function is what it tells of the real one, and so is its type."""

    def look() -> list[object]:
        functions = [getattr(asyncio, name) for name in FUNCTIONS] + [
            getattr(owner, name) for owner, name in METHODS
        ]
        return [seen(function) for function in functions]

    expected = look()
    spanloom.instrument("asyncio")
    try:
        assert look() == expected
    finally:
        spanloom.uninstrument()


def test_functions_can_be_pickled(patched_names: None) -> None:
    """A patched function goes through pickle, as the real one does, and comes back as something that does the same."""
    for name in FUNCTIONS:
        function = getattr(asyncio, name)
        assert pickle.loads(pickle.dumps(function)) is function
    for owner, name in METHODS:
        assert pickle.loads(pickle.dumps(getattr(owner, name))).__qualname__ == f"{owner.__name__}.{name}"


def test_nothing_is_left_behind() -> None:
    """After `uninstrument`, every attribute of asyncio is the object that it was, and so is each name in a module."""
    before = {name: getattr(asyncio, name) for name in FUNCTIONS}
    inside = {(owner, name): vars(owner)[name] for owner, name in METHODS}
    held = globals()["gather_by_name"]
    spanloom.instrument("asyncio")
    assert globals()["gather_by_name"] is asyncio.gather is asyncio.tasks.gather
    assert asyncio.gather is not held
    spanloom.uninstrument()
    assert {name: getattr(asyncio, name) for name in FUNCTIONS} == before
    assert {(owner, name): vars(owner)[name] for owner, name in METHODS} == inside
    assert globals()["gather_by_name"] is before["gather"] is asyncio.tasks.gather


def test_undone_while_it_runs() -> None:
    """`uninstrument` in the middle of a gather: what was begun is ended, and the program does not notice."""
    manager = CallbackManager()

    async def main() -> object:
        spanloom.instrument("asyncio")
        outer = asyncio.gather(*(give(n, 0.005) for n in range(3)))
        group = asyncio.TaskGroup()
        async with group, asyncio.timeout(1):
            group.create_task(give(1, 0.002))
            await asyncio.sleep(0)
            spanloom.uninstrument()
            group.create_task(give(2, 0.002))
        return await outer

    with use_callback_manager(manager):
        assert asyncio.run(main()) == [0, 1, 2]
    assert manager.stats().open == 0
    assert manager.recorder is not None
    assert [event.status for event in manager.recorder.ended()] == ["ok"] * len(manager.recorder)
