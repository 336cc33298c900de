"""The decorator: every call is an event, and the function behaves as it did without it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import sys
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.callbacks import CallbackManager
from tests.callbacks.recorders import recorded


class BodyError(Exception):
    pass


def statuses(manager: CallbackManager) -> list[tuple[str, str | None]]:
    return [(event.name, event.status) for event in recorded(manager)]


# functions and coroutines -----------------------------------------------------------------------------


def test_a_call_is_an_event() -> None:
    """A function's calls nest, are named by the qualified name, and return and raise as before."""
    manager = CallbackManager()

    @manager.trace()
    def inner(fail: bool) -> int:
        """Divide."""
        return 1 // (not fail)

    @manager.trace("outer")
    def outer(fail: bool) -> int:
        return inner(fail)

    assert outer(False) == 1
    with pytest.raises(ZeroDivisionError):
        outer(True)
    name = "test_a_call_is_an_event.<locals>.inner"
    assert statuses(manager) == [(name, "ok"), ("outer", "ok"), (name, "error"), ("outer", "error")]
    first, second, *_ = recorded(manager)
    assert first.parent_id == second.event_id
    assert {event.type for event in recorded(manager)} == {"call"}
    assert (inner.__doc__, inner.__qualname__) == ("Divide.", name)


async def test_a_coroutine_is_an_event_until_it_ends() -> None:
    """The event of a coroutine function spans its awaits; cancelled is cancelled."""
    manager = CallbackManager()

    @manager.trace("work")
    async def work(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    assert inspect.iscoroutinefunction(work)
    assert await work(0) == "done"
    task = asyncio.create_task(work(100))
    await asyncio.sleep(0)
    assert [event.name for event in manager.in_flight()] == ["work"]
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    coroutine = work(1)
    coroutine.close()
    coroutine = work(1)
    coroutine.send(None)
    coroutine.close()
    assert statuses(manager) == [("work", "ok"), ("work", "cancelled"), ("work", "cancelled")]


def test_methods_and_callables_can_be_traced() -> None:
    """Methods keep their self; an object without a name goes by its class."""
    manager = CallbackManager()

    class Tool:
        @manager.trace("method")
        def method(self) -> Tool:
            return self

        @staticmethod
        @manager.trace("static")
        def static(value: int) -> int:
            return value

        def __call__(self, value: int) -> int:
            return value

    tool = Tool()
    assert tool.method() is tool
    assert tool.static(3) == 3
    assert manager.trace()(tool)(4) == 4
    assert manager.trace()(functools.partial(max, 5))(2) == 5
    assert [name for name, _ in statuses(manager)] == ["method", "static", "Tool", "partial"]


def test_static_and_class_methods_can_be_traced_from_above() -> None:
    """The decorator may stand above ``@staticmethod`` and ``@classmethod`` as well as below."""
    manager = CallbackManager()

    class Tool:
        @manager.trace("static")
        @staticmethod
        def static(value: int) -> int:
            return value

        @manager.trace("of the class")
        @classmethod
        def of_class(cls, value: int) -> tuple[type, int]:
            return cls, value

    assert (Tool.static(1), Tool().static(2)) == (1, 2)
    assert (Tool.of_class(3), Tool().of_class(4)) == ((Tool, 3), (Tool, 4))
    assert [name for name, _ in statuses(manager)] == ["static", "static", "of the class", "of the class"]


async def test_the_call_of_an_object_may_be_of_any_kind() -> None:
    """What makes a coroutine, or yields, is an event until it ends; so it is with the ``__call__`` of an object."""
    manager = CallbackManager()

    class Fetch:
        async def __call__(self, value: int) -> int:
            assert [event.name for event in manager.in_flight()] == ["Fetch"]
            return value

    class Count:
        def __call__(self, value: int) -> Generator[int, None, None]:
            assert [event.name for event in manager.in_flight()] == ["Count"]
            yield value

    class Listen:
        async def __call__(self, value: int) -> AsyncGenerator[int, None]:
            assert [event.name for event in manager.in_flight()] == ["Listen"]
            yield value

    fetch, count, listen = manager.trace()(Fetch()), manager.trace()(Count()), manager.trace()(Listen())
    assert inspect.iscoroutinefunction(fetch)
    assert await fetch(1) == 1
    assert list(count(2)) == [2]
    assert [value async for value in listen(3)] == [3]
    assert statuses(manager) == [("Fetch", "ok"), ("Count", "ok"), ("Listen", "ok")]


@pytest.mark.parametrize("wrong", [int, 3, None])
def test_what_cannot_be_traced_is_refused(wrong: Any) -> None:
    """A class or something that cannot be called is refused when it is decorated."""
    with pytest.raises(TypeError, match=r"trace\(\) decorates functions and methods, not"):
        CallbackManager().trace()(wrong)


def test_the_parentheses_are_asked_for() -> None:
    """Without them, the first call of the function would be told that its argument is no function."""
    wrong: Any = len
    with pytest.raises(TypeError, match=r"write @manager.trace\(\), with parentheses"):
        CallbackManager().trace(wrong)


def test_the_kind_of_a_function_stays() -> None:
    """Frameworks that ask what kind of function it is get the same answer."""
    manager = CallbackManager()

    def generator() -> Generator[int, None, None]:
        yield 1

    async def async_generator() -> AsyncGenerator[int, None]:
        yield 1

    async def coroutine() -> None: ...

    def function() -> None: ...

    kinds = (inspect.isgeneratorfunction, inspect.isasyncgenfunction, inspect.iscoroutinefunction)
    for plain in (generator, async_generator, coroutine, function):
        assert [kind(manager.trace()(plain)) for kind in kinds] == [kind(plain) for kind in kinds]


# generators: the differential test ------------------------------------------------------------------

# What the body does when it is resumed, by turn; what the caller does to it, by turn.
BODY = st.lists(
    st.sampled_from(["yield", "yield_catching", "yield_exit", "return", "raise", "stop"]), max_size=5
)
CALLER = st.lists(st.sampled_from(["next", "send", "throw", "throw_exit", "throw_stop", "close"]), max_size=7)


def make_generator(program: list[str], log: list[str]) -> Callable[[], Generator[Any, Any, Any]]:
    def body() -> Generator[Any, Any, Any]:
        log.append("started")
        try:
            for number, action in enumerate(program):
                if action == "return":
                    return f"returned {number}"
                if action == "raise":
                    raise BodyError(number)
                if action == "stop":
                    raise StopIteration(number)
                try:
                    log.append(f"got {(yield number)}")
                except BodyError as error:
                    log.append(f"caught {error}")
                    if action != "yield_catching":
                        raise
                except GeneratorExit:
                    log.append("exit")
                    if action == "yield_exit":
                        continue
                    if action == "yield_catching":
                        return "returned on exit"
                    raise
            return "end"
        finally:
            log.append("finally")

    return body


def make_async_generator(program: list[str], log: list[str]) -> Callable[[], AsyncGenerator[Any, Any]]:
    async def body() -> AsyncGenerator[Any, Any]:
        log.append("started")
        try:
            for number, action in enumerate(program):
                await asyncio.sleep(0)
                if action == "return":
                    return
                if action == "raise":
                    raise BodyError(number)
                if action == "stop":
                    raise StopAsyncIteration(number)
                try:
                    log.append(f"got {(yield number)}")
                except BodyError as error:
                    log.append(f"caught {error}")
                    if action != "yield_catching":
                        raise
                except GeneratorExit as exit:
                    log.append("exit")
                    # Only to one that was thrown: a body that ignores aclose() can never be closed again.
                    if action == "yield_exit" and exit.args:
                        continue
                    if action == "yield_catching":
                        return
                    raise
        finally:
            log.append("finally")

    return body


def described(error: BaseException) -> str:
    return f"{type(error).__name__}({error})"


def drive(generator: Generator[Any, Any, Any], calls: list[str], log: list[str]) -> None:
    for number, call in enumerate(calls):
        try:
            if call == "next":
                result = next(generator)
            elif call == "send":
                result = generator.send(f"sent {number}")
            elif call == "throw":
                result = generator.throw(BodyError(f"thrown {number}"))
            elif call == "throw_exit":
                result = generator.throw(GeneratorExit(f"exit {number}"))
            elif call == "throw_stop":
                result = generator.throw(StopIteration(f"stop {number}"))
            else:
                result = generator.close()
            log.append(f"{call}: {result}")
        except BaseException as error:
            log.append(f"{call} raised {described(error)}")


async def drive_async(generator: AsyncGenerator[Any, Any], calls: list[str], log: list[str]) -> None:
    for number, call in enumerate(calls):
        try:
            if call == "next":
                result = await anext(generator)
            elif call == "send":
                result = await generator.asend(f"sent {number}")
            elif call == "throw":
                result = await generator.athrow(BodyError(f"thrown {number}"))
            elif call == "throw_exit":
                result = await generator.athrow(GeneratorExit(f"exit {number}"))
            elif call == "throw_stop":
                result = await generator.athrow(StopAsyncIteration(f"stop {number}"))
            else:
                result = await generator.aclose()  # type: ignore[func-returns-value]  # that it is None is the point
            log.append(f"{call}: {result}")
        except BaseException as error:
            log.append(f"{call} raised {described(error)}")


@given(BODY, CALLER)
def test_a_generator_behaves_as_without_the_decorator(program: list[str], calls: list[str]) -> None:
    """Items, sent values, thrown exceptions, close, return values: all as they were, and one end for each start."""
    manager = CallbackManager()
    plain: list[str] = []
    traced: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        left = make_generator(program, plain)()
        drive(left, calls, plain)
        right = manager.trace("g")(make_generator(program, traced))()
        drive(right, calls, traced)
    # After a wrong answer to close, both are still open: what the interpreter says of that is no result.
    finish(left)
    finish(right)
    assert traced == plain
    assert manager.in_flight() == []
    assert manager.current.get() is None
    assert len(recorded(manager)) == traced.count("started")


def finish(generator: Generator[Any, Any, Any]) -> None:
    while True:
        try:
            return generator.close()
        except (RuntimeError, BodyError):
            pass


async def finish_async(generator: AsyncGenerator[Any, Any]) -> None:
    try:
        await generator.aclose()
    except BodyError:
        pass


@given(BODY, CALLER)
def test_an_async_generator_behaves_as_without_the_decorator(program: list[str], calls: list[str]) -> None:
    """Items, sent values, thrown exceptions and aclose: all as they were, and one end for each start."""
    manager = CallbackManager()
    plain: list[str] = []
    traced: list[str] = []

    async def both() -> None:
        left = make_async_generator(program, plain)()
        await drive_async(left, calls, plain)
        await finish_async(left)
        right = manager.trace("g")(make_async_generator(program, traced))()
        await drive_async(right, calls, traced)
        await finish_async(right)
        assert manager.current.get() is None

    asyncio.run(both())
    assert traced == plain
    assert manager.in_flight() == []
    assert len(recorded(manager)) == traced.count("started")


# generators: the event --------------------------------------------------------------------------------


def test_the_event_of_a_generator_is_current_only_in_its_body() -> None:
    """Between two items the caller's event is current, whatever the body left open; in the body, its own."""
    manager = CallbackManager()
    seen: list[str | None] = []

    def current() -> str | None:
        event = manager.current.get()
        return None if event is None else event.name

    @manager.trace("g")
    def generate() -> Generator[int, None, None]:
        seen.append(current())
        with manager.event(name="inside"):
            yield 1
            seen.append(current())
            yield 2
        seen.append(current())
        yield 3

    with manager.event(name="outer"):
        for number in generate():
            assert current() == "outer"
            with manager.event(name=f"item {number}"):
                pass
        assert current() == "outer"
    assert seen == ["g", "inside", "g"]
    parents = {event.event_id: event.name for event in recorded(manager)}
    tree = {event.name: parents.get(event.parent_id or 0) for event in recorded(manager)}
    assert tree == {
        "item 1": "outer", "item 2": "outer", "item 3": "outer", "inside": "g", "g": "outer", "outer": None,
    }  # fmt: skip


async def test_the_event_of_an_async_generator_is_current_only_in_its_body() -> None:
    """The same for async generators, awaits in the body included."""
    manager = CallbackManager()
    seen: list[str | None] = []

    def current() -> str | None:
        event = manager.current.get()
        return None if event is None else event.name

    @manager.trace("g")
    async def generate() -> AsyncGenerator[int, None]:
        async with manager.event(name="inside"):
            for number in range(2):
                await asyncio.sleep(0)
                seen.append(current())
                yield number
        seen.append(current())

    async with manager.event(name="outer"):
        async for _ in generate():
            assert current() == "outer"
        assert current() == "outer"
    assert seen == ["inside", "inside", "g"]


def test_a_generator_that_is_closed_early_is_cancelled() -> None:
    """However the body takes it, a generator that its caller gave up is neither ok nor an error."""
    manager = CallbackManager()

    @manager.trace("g")
    def generate(catch: bool) -> Generator[int, None, None]:
        try:
            yield 1
        except GeneratorExit:
            if not catch:
                raise

    for catch in (False, True):
        generator = generate(catch)
        next(generator)
        generator.close()
        generator = generate(catch)
        next(generator)
        del generator
        gc.collect()
    assert statuses(manager) == [("g", "cancelled")] * 4
    generator = generate(True)
    generator.close()  # never started: no event
    assert len(recorded(manager)) == 4


async def test_an_async_generator_that_is_left_early_is_cancelled() -> None:
    """Leaving the loop and closing ends the event as cancelled, and so does dropping the generator."""
    manager = CallbackManager()

    @manager.trace("g")
    async def generate() -> AsyncGenerator[int, None]:
        for number in range(10):
            yield number

    generator = generate()
    async for _ in generator:
        break
    await generator.aclose()
    async for _ in generate():
        break
    gc.collect()
    await asyncio.sleep(0.01)
    assert statuses(manager) == [("g", "cancelled")] * 2


def test_a_generator_may_move_between_contexts() -> None:
    """Started in one context, resumed in another, closed in a third: no error, and each keeps its own current event."""
    manager = CallbackManager()
    seen: list[object] = []

    @manager.trace("g")
    def generate() -> Generator[int, None, None]:
        for number in range(3):
            seen.append(manager.current.get())
            yield number

    generator = generate()

    def step(name: str) -> None:
        with manager.event(name=name) as event:
            next(generator)
            assert manager.current.get() is event.event

    contextvars.copy_context().run(step, "first")
    contextvars.copy_context().run(step, "second")
    contextvars.copy_context().run(generator.close)
    assert manager.current.get() is None
    assert len({id(event) for event in seen}) == 1
    by_name = {event.name: event for event in recorded(manager)}
    assert by_name["g"].parent_id == by_name["first"].event_id
    assert by_name["g"].status == "cancelled"


async def test_an_async_generator_may_move_between_tasks() -> None:
    """Each item may be taken by another task: the trap in which tokens of ContextVars break."""
    manager = CallbackManager()

    @manager.trace("g")
    async def generate() -> AsyncGenerator[int, None]:
        try:
            for number in range(5):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)

    generator = generate()

    async def take() -> int:
        with manager.event(name="take") as event:
            number = await anext(generator)
            assert manager.current.get() is event.event
            return number

    assert [await asyncio.create_task(take()) for _ in range(3)] == [0, 1, 2]
    await asyncio.create_task(generator.aclose())
    assert statuses(manager)[-1] == ("g", "cancelled")
    assert manager.current.get() is None


def test_the_end_of_a_loop_closes_an_async_generator_without_noise() -> None:
    """A loop that shuts its async generators down closes a decorated one once: nothing is reported."""
    manager = CallbackManager()
    reports: list[dict[str, Any]] = []
    kept = []
    log: list[str] = []

    @manager.trace("g")
    async def generate() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            log.append("cleaned up")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
        for _ in range(10):
            generator = generate()
            await anext(generator)
            kept.append(generator)

    asyncio.run(main())
    assert reports == []
    assert log == ["cleaned up"] * 10
    assert statuses(manager) == [("g", "cancelled")] * 10


async def test_the_hooks_for_async_generators_stay() -> None:
    """Whatever the loop has set up for async generators is as it was while and after one runs."""
    manager = CallbackManager()
    before = sys.get_asyncgen_hooks()

    @manager.trace("g")
    async def generate() -> AsyncGenerator[int, None]:
        assert sys.get_asyncgen_hooks() == before
        yield 1

    async for _ in generate():
        assert sys.get_asyncgen_hooks() == before
    assert sys.get_asyncgen_hooks() == before


def test_a_generator_torn_down_elsewhere_leaves_a_strangers_event_alone() -> None:
    """Where somebody else's event is current, or none, a body that ends there does not change that."""
    manager = CallbackManager()
    context = manager.event(name="g")
    context.start()

    def elsewhere() -> None:
        context.suspend()
        assert manager.current.get() is None
        with manager.event(name="stranger") as stranger:
            context.suspend()
            assert manager.current.get() is stranger.event

    contextvars.Context().run(elsewhere)
    assert manager.current.get() is context.event
    context.end()
    assert manager.current.get() is None


class Large:
    pass


def test_a_generator_pins_neither_items_nor_exceptions() -> None:
    """What went through is free as soon as the caller lets go of it: no reference cycle, nothing kept."""
    manager = CallbackManager()

    @manager.trace("g")
    def generate() -> Generator[Large | None, Any, None]:
        try:
            yield Large()
        except BodyError:
            pass
        yield None
        yield None
        raise BodyError

    gc.disable()
    try:
        generator = generate()
        item = weakref.ref(next(generator))
        assert item() is None
        error = BodyError()
        thrown = weakref.ref(error)
        generator.throw(error)
        del error
        assert thrown() is None
        sent = Large()
        gone = weakref.ref(sent)
        generator.send(sent)
        del sent
        assert gone() is None
        try:
            next(generator)
        except BodyError as raised:
            thrown = weakref.ref(raised)
        assert thrown() is None
        generator = generate()
        next(generator)
        generator.throw(BodyError())
        try:
            generator.throw(BodyError())
        except BodyError as raised:
            thrown = weakref.ref(raised)
        assert thrown() is None
    finally:
        gc.enable()


async def test_an_async_generator_pins_neither_items_nor_exceptions() -> None:
    """The same for async generators."""
    manager = CallbackManager()

    @manager.trace("g")
    async def generate() -> AsyncGenerator[Large | None, Any]:
        try:
            yield Large()
        except BodyError:
            pass
        yield None
        yield None
        raise BodyError

    gc.disable()
    try:
        generator = generate()
        item = weakref.ref(await anext(generator))
        assert item() is None
        error = BodyError()
        thrown = weakref.ref(error)
        await generator.athrow(error)
        del error
        assert thrown() is None
        sent = Large()
        gone = weakref.ref(sent)
        await generator.asend(sent)
        del sent
        assert gone() is None
        try:
            await anext(generator)
        except BodyError as raised:
            thrown = weakref.ref(raised)
        assert thrown() is None
    finally:
        gc.enable()


async def test_a_generator_in_a_cycle_is_closed_once() -> None:
    """The loop that closes a forgotten generator does not close the one inside it at the same time."""
    manager = CallbackManager()
    closed: list[str] = []
    said: list[object] = []

    @manager.trace()
    async def numbers(box: list[object]) -> AsyncGenerator[int, None]:
        try:
            while True:
                yield len(box)
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    box: list[object] = []
    forgotten = numbers(box)
    box.append(forgotten)
    assert await anext(forgotten) == 1
    del forgotten, box
    gc.collect()
    for _ in range(10):
        await asyncio.sleep(0)
    assert (closed, said) == (["closed"], [])
