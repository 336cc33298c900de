"""The ``trace`` decorator: every call of a function becomes an event."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.callbacks.emitter import Emitter

__all__ = [
    "Scope",
    "async_generator",
    "awaitable_generator",
    "decorate",
    "generator",
    "hide_frame",
    "is_coroutine_function",
    "is_of_kind",
    "wrap",
]

P = ParamSpec("P")
R = TypeVar("R")


class Scope(Protocol):
    """What encloses one call; an `EventContext` is one."""

    def start(self) -> object:
        """Begin."""

    def end(self, error: BaseException | None = None) -> None:
        """End; `error` is what ended it."""

    def suspend(self) -> None:
        """Leave the context while a generator's body does not run."""

    def resume(self) -> None:
        """Enter it again when the body runs on, perhaps in another context."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def decorate(manager: Emitter, function: Callable[P, R], name: str | None) -> Callable[P, R]:
    """Wrap `function`, whatever kind of function it is, so that each call is one event.

    Raises:
        TypeError: `function` is not callable, or is a class.
    """
    if isinstance(
        function, (staticmethod, classmethod)
    ):  # else the wrapper would be bound to the object, too
        return cast("Callable[P, R]", type(function)(decorate(manager, function.__func__, name)))
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"trace() decorates functions and methods, not {function!r}")
    label = name or getattr(function, "__qualname__", type(function).__name__)
    return wrap(function, lambda: manager.event(EventType.CALL, name=label))


def wrap(function: Callable[P, R], scope: Callable[[], Scope]) -> Callable[P, R]:
    """Wrap `function`, whatever kind of function it is, so that each call runs in a `scope` of its own."""
    # Any: R is the whole return type, which differs from kind to kind.
    wrapped: Any
    if is_of_kind(inspect.isasyncgenfunction, function):
        wrapped = async_generator(cast("Any", function), scope)
    elif is_of_kind(inspect.isgeneratorfunction, function):
        wrapped = generator(cast("Any", function), scope, is_awaitable=awaitable_generator(function))
    elif is_coroutine_function(function):
        wrapped = _coroutine(function, scope)
    else:
        wrapped = _function(function, scope)
    return cast("Callable[P, R]", functools.wraps(function)(wrapped))


def is_coroutine_function(function: object) -> bool:
    """Tell whether calling `function` makes a coroutine: it, or its ``__call__``, is an ``async def``."""
    return is_of_kind(inspect.iscoroutinefunction, function)


def is_of_kind(kind: Callable[[object], bool], function: object) -> bool:
    """Tell whether `function` is of a kind of ``inspect``'s, or its ``__call__``: it may be any object."""
    return kind(function) or kind(getattr(function, "__call__", None))  # noqa: B004 -- its kind is wanted


def _function(function: Callable[P, R], scope: Callable[[], Scope]) -> Callable[P, R]:
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with scope():
            return function(*args, **kwargs)

    return call


def _coroutine(function: Callable[P, Any], scope: Callable[[], Scope]) -> Callable[P, Any]:
    async def call(*args: P.args, **kwargs: P.kwargs) -> object:
        with scope():
            return await function(*args, **kwargs)

    return call


# Both wrappers pass everything on: what is sent or thrown in, GeneratorExit included, reaches the body
# unchanged. And they keep nothing: hence the list that is empty at every ``yield``, and the ``del``. Else
# the wrapper's frame would keep an item alive, or an exception whose traceback leads back to that frame.


def generator(
    function: Callable[P, Generator[Any, Any, Any]], scope: Callable[[], Scope], *, is_awaitable: bool = False
) -> Callable[P, Generator[Any, Any, Any]]:
    """Wrap a generator function, so that each of its generators runs in a `scope` of its own.

    Args:
        function: The generator function.
        scope: Makes the scope of one generator.
        is_awaitable: Whether its generators can be awaited: `function` is decorated with ``types.coroutine``.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        inner = function(*args, **kwargs)
        context = scope()
        held: list[Any] = []
        error: BaseException | None = None
        closing: GeneratorExit | None = None
        step: Callable[[], Any] = functools.partial(next, inner)
        context.start()
        try:
            while True:
                try:
                    held.append(step())
                except StopIteration as stop:
                    error = closing  # closed early is cancelled, even if the body returns
                    return stop.value
                finally:
                    del step
                    context.suspend()
                closing = None
                try:
                    step = functools.partial(inner.send, (yield held.pop()))
                except BaseException as thrown:  # noqa: BLE001 -- the body decides what to do with it
                    step = functools.partial(inner.throw, thrown)
                    closing = thrown if isinstance(thrown, GeneratorExit) else None
                context.resume()
        except BaseException as raised:
            error = raised
            hide_frame(raised)
            raise
        finally:
            context.end(error)
            del error, closing

    if is_awaitable:
        types.coroutine(call)  # changes it in place
    return call


def awaitable_generator(made: Any) -> bool:
    """Tell whether a generator, or those of a generator function, can be awaited, thanks to ``types.coroutine``."""
    code = getattr(made, "gi_code", None) or getattr(made, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & inspect.CO_ITERABLE_COROUTINE)


def async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], scope: Callable[[], Scope]
) -> Callable[P, AsyncGenerator[Any, Any]]:
    """Wrap an async generator function, so that each of its generators runs in a `scope` of its own."""

    async def call(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        inner = function(*args, **kwargs)
        context = scope()
        held: list[Any] = []
        error: BaseException | None = None
        closing: GeneratorExit | None = None
        step: Callable[[], Any] = functools.partial(_first, inner)
        context.start()
        try:
            while True:
                try:
                    held.append(await step())
                except StopAsyncIteration:
                    error = closing  # closed early is cancelled, even if the body returns
                    return
                finally:
                    del step
                    context.suspend()
                closing = None
                try:
                    step = functools.partial(inner.asend, (yield held.pop()))
                except BaseException as thrown:  # noqa: BLE001 -- the body decides what to do with it
                    step = functools.partial(inner.athrow, thrown)
                    closing = thrown if isinstance(thrown, GeneratorExit) else None
                context.resume()
        except BaseException as raised:
            error = raised
            hide_frame(raised)
            raise
        finally:
            context.end(error)
            del error, closing

    return call


def _first(inner: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Take the first step of `inner` without registering it with the event loop.

    A loop closes the async generators that it knows: each one that is garbage, and all concurrently when it shuts down.
    It knows the wrapper, which closes `inner` itself; closing `inner` from two sides is an error. A finalizer is set
    all the same: without one Python closes a garbage generator itself, without running what it then awaits.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_leave_to_wrapper)
    try:
        return anext(inner)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _leave_to_wrapper(_: object) -> None:
    """Do nothing: the wrapper of a garbage generator is garbage, too, and its own finalizer closes both."""


def hide_frame(error: BaseException) -> None:
    """Remove the frame that has just caught `error` from its traceback; call before a bare ``raise``.

    A bare ``raise`` adds no entry, so the traceback is as if the wrapper did not exist.
    """
    traceback = error.__traceback__
    if traceback is not None:
        error.__traceback__ = traceback.tb_next
