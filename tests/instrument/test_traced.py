"""Decorated functions have events and are in all else as they were."""

from __future__ import annotations

import abc
import asyncio
import copy
import functools
import gc
import inspect
import pickle
import sys
import traceback
import types
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from types import MethodType
from typing import Any, ClassVar, cast

import pytest

import spanloom
from spanloom import (
    CallbackManager,
    Event,
    get_callback_manager,
    instrument_class,
    instrument_module,
    traced,
)
from spanloom.instrument.patches import Patches
from tests.instrument.conftest import tree


def plain(a: int, b: int = 2, *rest: int, key: str = "k") -> tuple[int, int, str]:
    """Say what it was given."""
    return a, b, key


async def asynchronous(a: int) -> int:
    """Wait."""
    await asyncio.sleep(0)
    return a


def generator(n: int) -> Iterator[int]:
    """Count."""
    yield from range(n)


async def asynchronous_generator(n: int) -> AsyncIterator[int]:
    """Count."""
    for each in range(n):
        yield each


def failing() -> None:
    raise ValueError("failing")


async def failing_later() -> None:
    raise ValueError("failing")


def failing_generator() -> Iterator[int]:
    yield 1
    raise ValueError("failing")


@traced
def at_the_top(n: int) -> int:
    return n + 1


class Base(abc.ABC):
    @traced
    @abc.abstractmethod
    def must(self) -> None: ...


class Client:
    @traced
    def method(self, n: int = 1) -> int:
        return n

    @traced
    async def later(self, n: int) -> int:
        return n

    @traced
    @classmethod
    def above_class(cls) -> type:
        return cls

    @classmethod
    @traced
    def below_class(cls) -> type:
        return cls

    @traced
    @staticmethod
    def above_static(n: int) -> int:
        return n

    @staticmethod
    @traced
    def below_static(n: int) -> int:
        return n

    @traced
    @property
    def above_property(self) -> str:
        """Say something."""
        return "above"

    @property
    @traced
    def below_property(self) -> str:
        return "below"

    @traced
    @functools.cached_property
    def cached(self) -> list[int]:
        return []


class Sub(Client):
    @traced
    def method(self, n: int = 1) -> int:
        return super().method(n) + 1


FUNCTIONS = [plain, asynchronous, generator, asynchronous_generator]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_traced_function_looks_as_it_did(function: Any) -> None:
    """`inspect` tells of it what it told before: signature, kind, source, names; and it is a function."""
    decorated = traced(function)
    for ask in (
        inspect.signature,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        inspect.isfunction,
        inspect.getsource,
        inspect.getdoc,
        inspect.getmodule,
        inspect.getfullargspec,
    ):
        assert ask(decorated) == ask(function)
    assert (decorated.__name__, decorated.__qualname__) == (function.__name__, function.__qualname__)
    assert isinstance(decorated, types.FunctionType)
    assert inspect.unwrap(decorated) is function


async def test_what_a_call_returns_has_the_names_of_the_function(manager: CallbackManager) -> None:
    """Coroutines, generators and async generators are called what the function's are, and are of the same type."""
    work, numbers, later = traced(asynchronous)(1), traced(generator)(1), traced(asynchronous_generator)(1)
    assert (work.__qualname__, type(work)) == ("asynchronous", types.CoroutineType)
    assert (numbers.__qualname__, type(numbers)) == ("generator", types.GeneratorType)
    assert (later.__name__, type(later)) == ("asynchronous_generator", types.AsyncGeneratorType)
    assert (await work, list(numbers), [n async for n in later]) == (1, [0], [0])


async def test_every_kind_of_function_has_events(manager: CallbackManager) -> None:
    """Each call is one event, by the function's name, with what happens inside under it."""

    @traced
    async def outer() -> list[object]:
        return [
            traced(plain)(1),
            await traced(asynchronous)(2),
            list(traced(generator)(2)),
            [n async for n in traced(asynchronous_generator)(2)],
        ]

    assert await outer() == [(1, 2, "k"), 2, [0, 1], [0, 1]]
    name = "test_every_kind_of_function_has_events.<locals>.outer".rpartition("<locals>.")[2]
    assert tree(manager) == [
        f"call {name} ok",
        "  call plain ok",
        "  call asynchronous ok",
        "  call generator ok",
        "  call asynchronous_generator ok",
    ]


async def test_methods_of_every_kind_have_events(manager: CallbackManager) -> None:
    """Methods, classmethods, staticmethods and properties, decorated above or below; and they are bound as ever."""
    client, sub = Client(), Sub()
    assert (client.method(3), sub.method(3), Client.method(client, 4), await client.later(5)) == (3, 4, 4, 5)
    assert (Client.above_class(), Sub.above_class(), sub.below_class()) == (Client, Sub, Sub)
    assert (client.above_static(1), Client.below_static(2)) == (1, 2)
    assert (client.above_property, client.below_property) == ("above", "below")
    assert client.cached is client.cached
    assert client.method.__self__ is client
    assert inspect.ismethod(client.method)
    assert inspect.iscoroutinefunction(client.later)
    assert isinstance(vars(Client)["above_class"], classmethod)
    assert isinstance(vars(Client)["above_static"], staticmethod)
    assert Client.above_property.__doc__ == "Say something."
    assert [line.split()[1] for line in tree(manager)] == [
        "Client.method",
        "Sub.method",
        "Client.method",
        "Client.method",
        "Client.later",
        "Client.above_class",
        "Client.above_class",
        "Client.below_class",
        "Client.above_static",
        "Client.below_static",
        "Client.above_property",
        "Client.below_property",
        "Client.cached",
    ]


def test_abstract_methods_stay_abstract() -> None:
    """A class with a traced abstract method cannot be instantiated."""
    with pytest.raises(TypeError, match="must"):
        Base()


@pytest.mark.parametrize(
    "function",
    [at_the_top, Client.method, Client.above_class, Client.above_static, Client().later],
    ids=lambda function: function.__qualname__,
)
def test_functions_and_methods_can_be_pickled(function: Any) -> None:
    """Pickle takes a traced function by its name, as any function, and copies of it are the function itself."""
    again = pickle.loads(pickle.dumps(function))
    assert again.__qualname__ == function.__qualname__
    assert copy.copy(function) == function
    assert pickle.loads(pickle.dumps(at_the_top)) is at_the_top
    if not inspect.ismethod(function):
        assert copy.copy(function) is copy.deepcopy(function) is function


class Part:
    def __init__(self) -> None:
        self.callback = self.called

    @traced
    def called(self) -> Part:
        return self

    @traced
    @staticmethod
    def alone() -> int:
        return 1


class Special(Part): ...


def test_methods_are_bound_as_methods_are() -> None:
    """They are the objects that Python makes of functions: for weak references, for copies, and for ``is``."""
    part = Part()
    assert type(part.called) is MethodType
    assert cast("Any", part.called).__func__ is Part.called
    assert repr(Part.called).startswith("<function Part.called at")
    again = weakref.WeakMethod(part.called)()
    assert again is not None
    assert again() is part
    copied = copy.deepcopy(part)
    assert copied.callback() is copied
    # Whether a class has a method of its own is found out like this.
    assert Special.called is Part.called
    assert Special.alone is Part.alone
    assert Part.called(part) is part


def test_what_is_kept_in_a_function_is_found_there() -> None:
    """Its ``__dict__`` is that of the function, for who puts something there and for `functools.wraps` around it."""

    def marked() -> None: ...

    vars(marked)["mark"] = 1
    decorated = traced(marked)
    vars(decorated)["later"] = 2
    assert vars(decorated) is vars(marked)
    assert vars(traced(Client().method)) is vars(Client.method)

    @functools.wraps(decorated)
    def around() -> None: ...

    assert vars(around) == {"mark": 1, "later": 2, "__wrapped__": decorated}


class AsyncCallable:
    async def __call__(self, a: int, *, key: str = "k") -> tuple[int, str]:
        await asyncio.sleep(0)
        return a, key


class GeneratorCallable:
    def __call__(self, n: int) -> Iterator[int]:
        yield from range(n)


async def test_objects_that_can_be_called_are_of_their_kind(manager: CallbackManager) -> None:
    """The event of one that returns a coroutine lasts until that has ended; how it is called can be seen as before."""
    called = traced(attributes=["a", "key"])(AsyncCallable())
    assert inspect.iscoroutinefunction(called.__call__)
    assert str(inspect.signature(called)) == str(inspect.signature(AsyncCallable()))
    assert isinstance(called, AsyncCallable)
    with pytest.raises(TypeError, match="'a'"):
        called()  # type: ignore[call-arg]  # that is the test
    work = called(1, key="x")
    assert tree(manager) == []
    assert await work == (1, "x")
    numbers = traced(GeneratorCallable())(2)
    assert next(numbers) == 0
    numbers.close()
    assert tree(manager) == ["call AsyncCallable ok", "call GeneratorCallable cancelled"]
    assert manager.recorder is not None
    assert dict(manager.recorder.ended()[0].payload) == {"a": 1, "key": "x"}


async def test_methods_that_are_dispatched_by_type_are_traced_as_one(manager: CallbackManager) -> None:
    """Above ``singledispatchmethod``: whatever is chosen, it is one event by the name of the method."""

    class Shown:
        @traced(name="show", attributes=["a", "b"])
        @functools.singledispatchmethod
        def show(self, a: object, b: int = 9) -> str:
            return "object"

        @show.register
        def _(self, a: int, b: int = 9) -> str:
            return "int"

        @traced(name="of", attributes=["a", "b"])
        @functools.singledispatchmethod
        @classmethod
        def of(cls, a: object, b: int = 9) -> str:
            return cls.__name__

        @functools.singledispatchmethod
        async def later(self, a: object) -> object:
            await asyncio.sleep(0)
            return a

    patches = instrument_class(Shown)
    assert (Shown().show("a", 1), Shown().show(1), Shown().of(1, 2), Shown.of(1, 2)) == (
        "object",
        "int",
        "Shown",
        "Shown",
    )
    assert await Shown().later(3) == 3
    patches.undo()
    assert await Shown().later(4) == 4
    assert manager.recorder is not None
    assert [(event.name.rpartition(".")[2], dict(event.payload)) for event in manager.recorder.ended()] == [
        ("show", {"a": "a", "b": 1}),
        ("show", {"a": 1, "b": 9}),
        ("of", {"a": 1, "b": 2}),
        ("of", {"a": 1, "b": 2}),
        ("later", {}),
    ]


def test_hooks_of_classes_stay_classmethods() -> None:
    """Python makes classmethods of two kinds of functions in the body of a class, traced ones included."""

    class Plugin:
        known: ClassVar[list[tuple[str, int]]] = []

        @traced
        def __init_subclass__(cls, *, rank: int) -> None:
            cls.known.append((cls.__name__, rank))

        @traced
        def __class_getitem__(cls, item: object) -> object:
            return cls, item

    class First(Plugin, rank=1): ...

    assert Plugin.known == [("First", 1)]
    assert cast("Any", First)[int] == (First, int)


class Kept(property):
    """As werkzeug's cached property: its function is called once."""

    def __init__(self, function: Any, key: str = "kept") -> None:
        super().__init__(function)
        self.key = key

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if self.key not in vars(instance):
            assert self.fget is not None
            vars(instance)[self.key] = self.fget(instance)
        return vars(instance)[self.key]


class Fresh(functools.cached_property[int]):
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self.func(instance)


def test_properties_of_other_classes_stay_what_they_are(manager: CallbackManager) -> None:
    """A property that keeps its value still does, and one that does not keep it still does not."""

    class Page:
        @traced
        @Kept
        def one(self) -> list[int]:
            """It is kept."""
            return []

        @Kept
        def two(self) -> list[int]:
            return []

        @traced
        @Fresh
        def three(self) -> Any:
            return []

    Page.two.key = "second"
    instrument_class(Page, properties=True)
    page = Page()
    assert page.one is page.one
    assert page.two is page.two
    assert page.three is not page.three
    assert vars(page) == {"kept": [], "second": []}
    assert Page.one.__doc__ == "It is kept."
    assert manager.stats().produced == 4


@traced
@types.coroutine
def stepped() -> Any:
    yield
    return 1


@types.coroutine
@traced
def stepped_below() -> Any:
    yield
    return 1


@get_callback_manager().trace()
@types.coroutine
def stepped_by_manager() -> Any:
    yield
    return 1


@pytest.mark.parametrize("function", [stepped, stepped_below, stepped_by_manager])
async def test_generators_that_can_be_awaited_still_can_be(function: Any) -> None:
    """A function that ``types.coroutine`` has made is awaited, not iterated over."""
    assert await function() == 1
    waiting = function()
    assert inspect.isawaitable(waiting)
    waiting.close()


def test_a_function_that_has_two_names_keeps_both(manager: CallbackManager) -> None:
    """``old = new`` in a module or a class: they stay one object, also for pickle."""
    source = "def new(): ...\nold = new\nclass Client:\n    def get(self): ...\n    fetch = get"
    module: Any = types.ModuleType("aliases_of_a_library")
    exec(source, vars(module))
    sys.modules[module.__name__] = module
    try:
        patches = instrument_module(module)
        assert module.old is module.new
        assert module.Client.fetch is module.Client.get
        assert pickle.loads(pickle.dumps(module.old)) is module.old
        module.old()
        module.Client().fetch()
        assert manager.stats().produced == 2
        patches.undo()
        assert module.old is module.new
        assert type(module.old) is types.FunctionType
    finally:
        del sys.modules[module.__name__]


def test_a_traced_classmethod_is_traced_once(manager: CallbackManager) -> None:
    """Also where ``traced`` stands below ``classmethod`` and the class is instrumented; a class in it is no method."""

    class Client:
        @classmethod
        @traced
        def make(cls) -> None: ...

        @staticmethod
        @traced
        def check() -> None: ...

        kind = staticmethod(dict)

    assert len(instrument_class(Client)) == 0
    assert Client.kind is dict
    Client.make()
    Client.check()
    assert manager.stats().produced == 2


def lines_of(error: BaseException) -> list[tuple[str, str]]:
    return [(frame.filename, frame.name) for frame in traceback.extract_tb(error.__traceback__)]


async def call(function: Any) -> BaseException:
    try:
        result = function()
        if inspect.isawaitable(result):
            await result
        else:
            list(result or ())
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "function", [failing, failing_later, failing_generator], ids=lambda function: function.__name__
)
async def test_exceptions_and_their_tracebacks_are_the_same(function: Any, manager: CallbackManager) -> None:
    """The exception is the very object, and its traceback has no line of ours; the event has the error."""
    expected = await call(function)
    raised = await call(traced(function))
    assert lines_of(raised) == lines_of(expected)
    assert manager.recorder is not None
    (event,) = manager.recorder.ended()
    assert (event.status, event.error and event.error.message) == ("error", "failing")


async def with_parameters(a: int, /, b: int = 2, *, c: int = 3) -> tuple[int, ...]:
    return a, b, c


async def with_all(a: int, *rest: int, **named: int) -> tuple[object, ...]:
    return a, rest, named


async def with_a_word(a: int, *, word: str) -> tuple[object, ...]:
    return a, word


class Asynchronous:
    async def method(self, a: int, b: int = 2) -> tuple[int, ...]:
        return a, b


CALLS = [((), {}), ((1,), {}), ((1, 2), {}), ((1, 2, 3), {}), ((1,), {"c": 4}), ((1,), {"b": 4})]
CALLS += [((), {"a": 1}), ((1,), {"word": 1}), ((1,), {"a": 1}), ((1, 2), {"b": 1})]


@pytest.mark.parametrize(
    "function",
    [*FUNCTIONS[1:], with_parameters, with_all, with_a_word, Asynchronous().method, Asynchronous.method],
    ids=lambda function: function.__qualname__,
)
async def test_arguments_are_checked_where_they_are_given(function: Any, manager: CallbackManager) -> None:
    """Wrong ones are an error of the call, not of the ``await``, with its own traceback; there is no event of it."""
    owner = getattr(function, "__self__", None)
    decorated = traced(function) if owner is None else traced(type(owner).method).__get__(owner)

    async def outcome(call: Any) -> object:
        try:
            begun = call()
        except TypeError as error:
            return str(error), [name for _, name in lines_of(error)][1:]
        if inspect.isawaitable(begun):
            return await outcome_of(begun)
        return begun and type(begun)

    async def outcome_of(begun: Any) -> object:
        try:
            return await begun
        except TypeError:
            return "late"

    for args, named in CALLS:
        expected = await outcome(lambda: function(*args, **named))  # noqa: B023 -- called at once
        assert await outcome(lambda: decorated(*args, **named)) == expected  # noqa: B023 -- called at once
    assert not [line for line in tree(manager) if not line.endswith(" ok")]


async def of_every_kind(
    manager: int, /, event: int = 1, *function: int, type: int, _k0: int = 2, **name: int
) -> tuple[object, ...]:
    return manager, event, function, type, _k0, name


async def test_parameters_may_have_any_names(manager: CallbackManager) -> None:
    """Also those of our own variables, and each kind of them; what is attached of them has their names."""
    decorated = traced(attributes=("event", "type", "_k0"))(of_every_kind)
    for args, named in [((1,), {"type": 3}), ((1, 4, 5, 6), {"type": 3, "_k0": 7, "manager": 8, "_p0": 9})]:
        assert await decorated(*args, **named) == await of_every_kind(*args, **named)
    with pytest.raises(
        TypeError, match=r"of_every_kind\(\) missing 1 required keyword-only argument: 'type'"
    ):
        decorated(1)
    assert manager.recorder is not None
    assert [dict(event.payload) for event in manager.recorder.ended()] == [
        {"event": 1, "type": 3, "_k0": 2},
        {"event": 4, "type": 3, "_k0": 7},
    ]


async def test_how_a_traced_function_takes_arguments_can_be_changed(manager: CallbackManager) -> None:
    """Defaults and code that are replaced later are those of the function, which is what tools do that reload code."""

    async def work(a: int, *, b: int = 2) -> object:
        return a, b

    async def other(x: int, y: int) -> object:
        return x - y

    decorated: Any = traced(work)
    assert await decorated(1) == (1, 2)
    decorated.__defaults__, decorated.__kwdefaults__ = (5,), {"b": 6}
    assert await decorated() == (5, 6)
    decorated.__defaults__, decorated.__code__ = None, other.__code__
    assert await decorated(y=1, x=3) == 2
    with pytest.raises(TypeError, match="'y'"):
        decorated(1)
    assert [line.split()[-1] for line in tree(manager)] == ["ok"] * 3


async def test_a_function_that_is_called_before_it_is_awaited_is(manager: CallbackManager) -> None:
    """What does something at the call and returns a coroutine does it there, once."""
    log: list[str] = []

    @functools.wraps(asynchronous)
    def eager(a: int) -> Any:
        log.append("called")
        return asynchronous(a)

    mark = getattr(inspect, "markcoroutinefunction", None)  # since 3.12; before, it is a plain function
    call = traced(eager if mark is None else mark(eager))(1)
    assert log == ["called"]
    assert await call == 1
    assert log == ["called"]


async def test_arguments_are_let_go_of(manager: CallbackManager) -> None:
    """What a coroutine has no use for any more is free, though it was given to a traced one."""

    class Large: ...

    @traced
    async def use(large: Any) -> object:
        known = weakref.ref(large)
        del large
        await asyncio.sleep(0)
        return known()

    assert await use(Large()) is None


@pytest.mark.parametrize("end", ["close", "cancel", "forget", "forget in a circle"])
async def test_a_call_that_is_never_begun_warns_as_ever(end: str, manager: CallbackManager) -> None:
    """Not if it is closed, or its task cancelled, before the first step; once if nobody awaits it."""

    async def one(_: list[Any]) -> int:
        return 1

    async def run(function: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            given: list[Any] = []
            call = function(given)
            if end == "forget in a circle":
                given.append(call)
            elif end == "close":
                call.close()
            elif end == "cancel":
                task = asyncio.create_task(call)
                task.cancel()
                await asyncio.wait([task])
                del task
            del call, given
            gc.collect()
        return [str(each.message) for each in said]

    assert await run(traced(one)) == await run(one)
    assert tree(manager) == []


async def test_a_cancelled_call_is_cancelled(manager: CallbackManager) -> None:
    """Neither ok nor an error; an early exit of a generator is one, too."""
    task = asyncio.create_task(traced(asyncio.sleep)(10))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    numbers = traced(generator)(5)
    assert next(numbers) == 0
    numbers.close()
    assert tree(manager) == ["call sleep cancelled", "call generator cancelled"]


async def test_arguments_are_attached_on_request_only(manager: CallbackManager) -> None:
    """By default nothing; by name numbers, flags and short texts; by a function of the value what that returns."""

    class Secret:
        def __repr__(self) -> str:
            raise AssertionError("nobody asked")

    @traced(name="named", type="embedding", attributes={"texts": len, "model": str.upper, "n": abs})
    def embed(texts: list[str], model: str = "small", *, n: int = -1) -> None: ...

    @traced(attributes=("a", "b", "c", "missing"))
    async def later(a: object, b: object, *, c: object = "x" * 1_000, missing: object) -> None: ...

    class Holder:
        @traced(attributes=("n",))
        def method(self, n: int) -> None: ...

    traced(plain)(1, 2)
    embed(["a", "b"], "tiny", n=-5)
    embed(["a"])
    await later(1, Secret(), missing=None)
    Holder().method(3)
    Holder.method(Holder(), 4)
    traced(attributes=["n"])(Holder.method.__wrapped__.__get__(Holder()))(5)
    assert manager.recorder is not None
    first, second, third, fourth, fifth, sixth, *_, bound = manager.recorder.ended()
    assert dict(first.payload) == {}
    assert (second.type, second.name, dict(second.payload)) == (
        "embedding",
        "named",
        {"texts": 2, "model": "TINY", "n": 5},
    )
    assert dict(third.payload) == {"texts": 1, "model": "SMALL", "n": 1}
    assert dict(fourth.payload) == {"a": 1, "b": "<Secret>", "c": "x" * 499 + "…", "missing": None}
    assert (dict(fifth.payload), dict(sixth.payload)) == ({"n": 3}, {"n": 4})
    assert dict(bound.payload) == {"n": 5}


async def test_each_argument_is_that_of_its_parameter(manager: CallbackManager) -> None:
    """Not what has the name of a positional-only one in ``**others``, nor what stands where ``*rest`` begins."""

    def call(a: int, b: int = 3, /, *rest: int, key: int = 4, **others: int) -> None: ...

    async def later(a: int, b: int = 3, /, *rest: int, key: int = 4, **others: int) -> None: ...

    by_name = traced(attributes=["a", "b", "rest", "key", "others"])
    by_length = traced(attributes={"rest": len, "others": sorted, "b": str})
    for function in (by_name(call), by_length(call), by_name(later), by_length(later)):
        result: Any = cast("Any", function)(1, a=-1, b=-2)
        if result is not None:
            await result
    by_length(call)(1, 2, 5, 6, key=7, z=8)
    assert manager.recorder is not None
    names = {"a": 1, "b": 3, "rest": "<tuple>", "key": 4, "others": "<dict>"}
    lengths = {"rest": 0, "others": "<list>", "b": "3"}
    assert [dict(event.payload) for event in manager.recorder.ended()] == [
        names,
        lengths,
        names,
        lengths,
        {"rest": 2, "others": "<list>", "b": "2"},
    ]


def test_a_selector_that_fails_is_no_failure_of_the_call(
    manager: CallbackManager, caplog: pytest.LogCaptureFixture
) -> None:
    """What a function for an attribute raises is logged once, and the event has no attributes."""

    @traced(name="selected badly", attributes={"n": len})
    def take(n: int) -> int:
        return n

    assert (take(1), take(2)) == (1, 2)
    assert len([record for record in caplog.records if "selected badly" in record.getMessage()]) == 1
    assert tree(manager) == ["call selected badly ok"] * 2


def test_what_cannot_be_traced_is_said_at_once() -> None:
    """A parameter that there is not, and what is no function."""
    with pytest.raises(ValueError, match="has no parameter 'c'; it has: a, b, rest, key"):
        traced(attributes=("c",))(plain)
    with pytest.raises(TypeError, match="functions, methods, properties and classes"):
        traced(5)


def test_tracing_twice_is_tracing_once(manager: CallbackManager) -> None:
    """A traced function that is traced again has one event a call."""
    assert traced(at_the_top) is at_the_top
    assert at_the_top(1) == 2
    assert tree(manager) == ["call at_the_top ok"]


class Service:
    factor = 2

    def get_one(self) -> int:
        return 1

    def get_two(self) -> int:
        return 2

    def put(self) -> None: ...

    def _private(self) -> None: ...

    @classmethod
    def make(cls) -> Service:
        return cls()

    @property
    def size(self) -> int:
        return 3

    @functools.cached_property
    def slow(self) -> int:
        return 4


def use(service: Service) -> None:
    service.get_one()
    service.get_two()
    service.put()
    service._private()
    type(service).make()
    assert (service.size, service.slow, service.slow) == (3, 4, 4)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["get_one", "get_two", "put", "make"]),
        ({"include": "get_*", "exclude": ["*_two"]}, ["get_one"]),
        ({"include": ("_private", "put")}, ["put", "_private"]),
        ({"exclude": "*t*", "properties": True}, ["make", "size", "slow"]),
    ],
)
def test_a_class_is_traced_by_patterns(
    options: dict[str, Any], names: list[str], manager: CallbackManager
) -> None:
    """`instrument_class` takes the public methods, or what is asked for, and gives them back by `undo`."""
    before = dict(vars(Service))
    patches = instrument_class(Service, **options)
    use(Service())
    assert [line.split()[1] for line in tree(manager)] == [f"Service.{name}" for name in names]
    patches.undo()
    use(Service())
    assert len(tree(manager)) == len(names)
    assert {name: value for name, value in vars(Service).items() if name in before} == before


def test_a_decorated_class_is_the_class(manager: CallbackManager) -> None:
    """``@traced`` on a class traces its public methods and returns the same class: `isinstance` and pickle go on."""

    class Own:
        def run(self) -> int:
            return 1

    assert traced(Own) is Own
    assert Own().run() == 1
    assert [line.split()[1] for line in tree(manager)] == [
        "test_a_decorated_class_is_the_class.<locals>.Own.run".rpartition("<locals>.")[2]
    ]


def test_a_decorated_class_gives_its_methods_the_type(manager: CallbackManager) -> None:
    """A name and attributes are of one function; a class that gets them is told so, and left as it is."""

    class Tools:
        def search(self) -> int:
            return 1

    original = Tools.search
    for options in ({"name": "tool"}, {"attributes": ("query",)}):
        with pytest.raises(TypeError, match="decorate the methods of"):
            traced(**options)(Tools)
    assert Tools.search is original
    assert traced(type="tool")(Tools)().search() == 1
    assert [line.split()[0] for line in tree(manager)] == ["tool"]


def test_a_module_is_traced_where_it_is_used(manager: CallbackManager) -> None:
    """`instrument_module` traces what a module defines, also where others have it by name, and undoes both."""
    source, user = types.ModuleType("traced_source"), types.ModuleType("traced_user")
    import sys

    sys.modules.update(traced_source=source, traced_user=user)
    try:
        exec(
            "from asyncio import sleep\n"
            "def shown(): return _hidden()\n"
            "def _hidden(): return 1\n"
            "class Thing:\n"
            "    def do(self): return 2\n",
            vars(source),
        )
        exec("from traced_source import shown as other, Thing, sleep\n", vars(user))
        patches = instrument_module(source)
        assert (user.other(), user.Thing().do(), user.sleep) == (1, 2, asyncio.sleep)
        kept = [user.other]
        assert tree(manager) == ["call shown ok", "call Thing.do ok"]
        patches.undo()
        assert (user.other(), user.Thing().do(), kept[0]()) == (1, 2, 1)
        assert user.other is source.shown
        assert type(user.other) is types.FunctionType
        assert len(tree(manager)) == 2
    finally:
        del sys.modules["traced_source"], sys.modules["traced_user"]


def test_classes_and_modules_only() -> None:
    """`instrument_class` and `instrument_module` say what they need."""
    with pytest.raises(TypeError, match="needs a class"):
        instrument_class(plain)
    with pytest.raises(TypeError, match="needs a module"):
        instrument_module(Service)
    with pytest.raises(TypeError, match="immutable type"):
        instrument_class(str)


def test_hooks_that_fail_on_purpose_leave_nothing_behind() -> None:
    """Under ``raise_handler_errors`` a start hook stops the call before it begins; its coroutine is closed."""

    class Broken:
        def on_event_start(self, event: Event) -> None:
            raise RuntimeError("hook")

    own = CallbackManager([Broken()], raise_handler_errors=True)
    with spanloom.use_callback_manager(own), pytest.raises(spanloom.HandlerError):
        asyncio.run(traced(asynchronous)(1))
    assert own.stats().open == 0


def test_patches_say_how_many_there_are() -> None:
    """The length of what `instrument_class` returns is the number of what was replaced."""
    patches = instrument_class(Service, include="get_*")
    assert isinstance(patches, Patches)
    assert len(patches) == 2
    patches.undo()
    assert len(patches) == 0


@traced
def down(n: int) -> Any:
    return down(n + 1)


@traced
async def down_async(n: int) -> Any:
    return await down_async(n + 1)


@traced
def down_generator(n: int) -> Iterator[int]:
    yield from down_generator(n + 1)


@traced
async def down_async_generator(n: int) -> AsyncIterator[int]:
    async for each in down_async_generator(n + 1):
        yield each


async def all_of(n: int) -> list[int]:
    return [each async for each in down_async_generator(n)]


@pytest.mark.parametrize(
    "fall",
    [
        lambda: down(0),
        lambda: asyncio.run(down_async(0)),
        lambda: list(down_generator(0)),
        lambda: asyncio.run(all_of(0)),
    ],
    ids=["function", "coroutine", "generator", "async generator"],
)
@pytest.mark.parametrize("deeper", range(8))
def test_where_the_stack_ends_no_event_is_left_open(fall: Callable[[], Any], deeper: int) -> None:
    """A recursion without an end fails as ever, wherever of our own code the last frame would have been."""

    def from_below(levels: int) -> None:
        if levels:
            from_below(levels - 1)
            return
        with pytest.raises(RecursionError):
            fall()

    with spanloom.use_callback_manager(CallbackManager()) as manager:
        from_below(deeper)
        assert manager.in_flight() == []
        assert manager.recorder is not None
        ended = manager.recorder.ended()
        assert len(ended) > 50
        assert {event.status for event in ended} == {"error"}
