"""The ``trace`` decorator: every call of a function becomes an event."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.callbacks.context import EventContext
    from spanloom.callbacks.manager import CallbackManager

__all__ = ["decorate"]

P = ParamSpec("P")
R = TypeVar("R")


def decorate(manager: CallbackManager, function: Callable[P, R], name: str | None) -> Callable[P, R]:
    """Wrap `function`, whatever kind of function it is, so that each call is one event.

    Raises:
        TypeError: `function` is not callable, or is a class.
    """
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"trace() decorates functions and methods, not {function!r}")
    label = name or getattr(function, "__qualname__", type(function).__name__)

    def scope() -> EventContext:
        return manager.event(EventType.CALL, name=label)

    # Any: each kind of function has another return type, which R stands for as a whole.
    wrapped: Any
    if inspect.isasyncgenfunction(function):
        wrapped = _async_generator(function, scope)
    elif inspect.isgeneratorfunction(function):
        wrapped = _generator(function, scope)
    elif inspect.iscoroutinefunction(function):
        wrapped = _coroutine(function, scope)
    else:
        wrapped = _function(function, scope)
    return cast("Callable[P, R]", functools.wraps(function)(wrapped))


def _function(function: Callable[P, R], scope: Callable[[], EventContext]) -> Callable[P, R]:
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with scope():
            return function(*args, **kwargs)

    return call


def _coroutine(function: Callable[P, Any], scope: Callable[[], EventContext]) -> Callable[P, Any]:
    async def call(*args: P.args, **kwargs: P.kwargs) -> object:
        with scope():
            return await function(*args, **kwargs)

    return call


def _generator(
    function: Callable[P, Generator[Any, Any, Any]], scope: Callable[[], EventContext]
) -> Callable[P, Generator[Any, Any, Any]]:
    def call(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        inner = function(*args, **kwargs)
        context = scope()
        error: BaseException | None = None
        context.start()
        step: Callable[[], Any] = functools.partial(next, inner)
        try:
            while True:
                try:
                    item = step()
                except StopIteration as stop:
                    return stop.value
                finally:
                    context.suspend()
                try:
                    sent = yield item
                    step = functools.partial(inner.send, sent)
                except GeneratorExit:
                    context.resume()
                    inner.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001 -- the body decides what to do with it
                    step = functools.partial(inner.throw, thrown)
                context.resume()
        except BaseException as raised:
            error = raised
            raise
        finally:
            context.end(error)

    return call


def _async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], scope: Callable[[], EventContext]
) -> Callable[P, AsyncGenerator[Any, Any]]:
    async def call(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        inner = function(*args, **kwargs)
        context = scope()
        error: BaseException | None = None
        context.start()
        step: Callable[[], Any] = functools.partial(anext, inner)
        try:
            while True:
                try:
                    item = await step()
                except StopAsyncIteration:
                    return
                finally:
                    context.suspend()
                try:
                    sent = yield item
                    step = functools.partial(inner.asend, sent)
                except GeneratorExit:
                    context.resume()
                    await inner.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001 -- the body decides what to do with it
                    step = functools.partial(inner.athrow, thrown)
                context.resume()
        except BaseException as raised:
            error = raised
            raise
        finally:
            context.end(error)

    return call
