"""What stands in the place of a function: nobody can tell it from that, and it loads no wrapt for it."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

import pytest

from spanloom.instrument.patches import Patches
from spanloom.instrument.task_group import TaskGroups

CALLS: list[tuple[object, tuple[Any, ...]]] = []


class Client:
    """Has a method of each kind."""

    def plain(self, number: int = 1) -> int:
        """Return it."""
        return number

    async def awaited(self, number: int = 1) -> int:
        """Return it."""
        return number

    def numbers(self, number: int = 1) -> Any:
        """Yield it."""
        yield number

    async def later(self, number: int = 1) -> Any:
        """Yield it."""
        yield number

    @classmethod
    def of_class(cls, number: int = 1) -> int:
        """Return it."""
        return number

    @staticmethod
    def of_none(number: int = 1) -> int:
        """Return it."""
        return number


def function(number: int = 1) -> int:
    """Return it."""
    return number


async def coroutine_function(number: int = 1) -> int:
    """Return it."""
    return number


HERE = sys.modules[__name__]
METHODS = ("plain", "awaited", "numbers", "later", "of_class", "of_none")
FUNCTIONS = ("function", "coroutine_function")
KINDS = (
    *(inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction),
    *(inspect.isfunction, inspect.ismethod, inspect.isroutine, callable),
)


def wrapper(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    CALLS.append((instance, args))
    return wrapped(*args, **kwargs)


def looks(thing: Any) -> list[object]:
    """Return what a program can find out of a function."""
    code = thing.__code__ if inspect.iscoroutinefunction(thing) else None
    return [
        *(kind(thing) for kind in KINDS),
        *(isinstance(thing, types.FunctionType), str(inspect.signature(thing)), inspect.getsource(thing)),
        *(thing.__name__, thing.__qualname__, thing.__doc__, thing.__module__, thing.__annotations__, code),
    ]


@pytest.mark.parametrize(
    ("owner", "name"), [*((Client, name) for name in METHODS), *((HERE, name) for name in FUNCTIONS)]
)
def test_it_looks_like_the_function(owner: Any, name: str) -> None:
    """Kind, signature, names, annotations, source; pickled and copied it is what it was; undone, the same object."""
    original = inspect.getattr_static(owner, name)
    before = looks(getattr(owner, name))
    bound = looks(getattr(Client(), name)) if owner is Client else None
    patches = Patches()
    patches.wrap(owner, name, wrapper)
    try:
        value = getattr(owner, name)
        assert looks(value) == before
        assert bound is None or looks(getattr(Client(), name)) == bound
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.copy(value) == copy.deepcopy(value) == value
        assert inspect.getattr_static(owner, name) is not original
    finally:
        patches.undo()
    assert inspect.getattr_static(owner, name) is original


def test_the_wrapper_is_told_what_the_function_is_bound_to() -> None:
    """An instance, the class, nothing; called by the class it is the same, and undone it is not called."""
    client = Client()
    patches = Patches()
    for name in METHODS:
        patches.wrap(Client, name, wrapper)
    kept = Client.plain, client.awaited
    CALLS.clear()
    try:
        assert (client.plain(2), Client.plain(client, number=3), client.of_class(4), Client.of_none(5)) == (
            2,
            3,
            4,
            5,
        )
        client.awaited(6).close()
        Client.awaited(client, 7).close()
        assert list(client.numbers(8)) == [8]
        of_class = (Client, (4,))
        bound = ((client, (number,)) for number in (6, 7, 8))
        assert CALLS == [(client, (2,)), (client, ()), of_class, (None, (5,)), *bound]  # noqa: SIM300 -- it is no constant
    finally:
        patches.undo()
    CALLS.clear()
    assert kept[0](client, 9) == 9
    kept[1](10).close()
    assert CALLS == []


def test_a_wrapper_is_in_no_traceback() -> None:
    """Neither what stands in the place of a function, nor what that calls; only what raises itself is seen."""

    class Raising:
        def plain(self) -> None:
            raise ValueError("plain")

        async def awaited(self) -> None: ...

    def frames(call: Callable[[], object]) -> list[str]:
        with pytest.raises((ValueError, TypeError)) as raised:
            call()
        return [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)][1:]

    one: Any = Raising()
    calls: list[Callable[[], object]] = [lambda: [one.plain()], lambda: [one.awaited(1)]]
    before = [frames(call) for call in calls]
    patches = Patches()
    # One of ours that passes the call on and does not take itself out.
    ours = TaskGroups().leave
    patches.wrap(Raising, "plain", ours)
    patches.wrap(Raising, "awaited", ours)
    assert [frames(call) for call in calls] == before == [["<lambda>", "plain"], ["<lambda>"]]
    patches.undo()


@pytest.mark.parametrize("name", ["plain", "awaited"])
def test_a_wrong_call_is_the_error_that_it_would_be(name: str) -> None:
    """Without ourselves among its frames, and without the wrapper, which stands where the function would."""
    errors = []
    patches = Patches()
    for _ in range(2):
        for call in (
            functools.partial(getattr(Client(), name), 1, 2),
            functools.partial(getattr(Client, name)),
        ):
            with pytest.raises(TypeError) as raised:
                call()
            errors.append((str(raised.value), traceback.extract_tb(raised.value.__traceback__)[0].name))
        patches.wrap(Client, name, wrapper)
    patches.undo()
    (first, second), (third, fourth) = errors[:2], errors[2:]
    assert first[0] == third[0]
    assert (second[0], second[1], first[1], third[1]) == (fourth[0], fourth[1], first[1], third[1])


def test_what_is_no_function_is_wrapped_as_well() -> None:
    """A built-in function, a partial, an object that can be called: with the same frames between."""

    class Called:
        def __call__(self, number: int) -> int:
            return number

    def frames(wrapped: Callable[..., Any], _: object, args: Any, kwargs: Any) -> Any:
        CALLS.append((sys._getframe(2).f_code.co_name, args))
        return wrapped(*args, **kwargs)

    module = types.ModuleType("module")
    originals = {
        "built_in": abs,
        "partial": functools.partial(function),
        "object": Called(),
        "function": function,
    }
    vars(module).update(originals)
    patches = Patches()
    for name in originals:
        patches.wrap(module, name, frames)
    CALLS.clear()
    assert [
        getattr(module, name)(number=1) if name == "function" else getattr(module, name)(1)
        for name in originals
    ] == [1] * len(originals)
    here = test_what_is_no_function_is_wrapped_as_well.__name__
    assert {name for name, _ in CALLS} <= {here, "<listcomp>"}
    patches.undo()
    assert {name: vars(module)[name] for name in originals} == originals
