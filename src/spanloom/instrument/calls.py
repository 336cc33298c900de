"""What stands in the place of a function whose calls are events, one for each kind of function."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, TypeAlias

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.decorate import async_generator, awaitable_generator, generator, hide_frame
from spanloom.instrument.functions import Args, KwArgs, Wrapper
from spanloom.instrument.harmless import guarded
from spanloom.instrument.selected import Selector
from spanloom.instrument.unstarted import Unstarted

__all__ = ["wrapper_of"]

Payload: TypeAlias = Callable[[Any, Args, KwArgs], dict[str, object] | None]


def wrapper_of(function: Callable[..., Any], type: str, name: str, selector: Selector | None) -> Wrapper:
    """Return what to call in the place of `function`, so that each call is an event.

    Arguments that do not fit are an error where the call is made, as they always are, and not where it is awaited.

    Args:
        function: The function, not bound; its kind decides what is returned.
        type: The events' type.
        name: Their name.
        selector: Takes from the arguments what the events are to have of them; ``None`` for nothing.
    """
    payload: Payload | None = None

    if selector is not None:
        is_bound = inspect.ismethod(function)  # already: its parameters are without the first one, too

        def select(instance: Any, args: Args, kwargs: KwArgs) -> dict[str, object] | None:
            bound = 0 if instance is None or is_bound else 1
            return guarded(name, selector.select, args, kwargs, bound)

        payload = select
    if inspect.isasyncgenfunction(function):
        return _generator(async_generator, type, name, payload)
    if inspect.isgeneratorfunction(function):
        return _generator(generator, type, name, payload)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, type, name, payload)
    return _function(type, name, payload)


def _function(type: str, name: str, payload: Payload | None) -> Wrapper:
    def call(wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: KwArgs) -> Any:
        manager = get_callback_manager()
        current = manager.current
        outer = current.get()
        data = None if payload is None else payload(instance, args, kwargs)
        event, route = manager.begin(type, name, data, outer)
        current.set(event)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            hide_frame(error)
            # As in Emitter.leave: where the stack ends, a call more may be one too many.
            if current.get() is event:
                current.set(outer)
            manager.finish(event, route, error)
            raise
        if current.get() is event:
            current.set(outer)
        manager.finish(event, route, None)
        return result

    return call


def _coroutine(function: Callable[..., Any], type: str, name: str, payload: Payload | None) -> Wrapper:
    fewest, most = _positional(function)

    # A coroutine has its names from the function that it is of.
    @functools.wraps(function)
    async def run(wrapped: Any, args: Args, unstarted: Unstarted | None, data: Any) -> Any:
        manager = get_callback_manager()
        current = manager.current
        outer = current.get()
        event, route = manager.begin(type, name, data, outer)
        current.set(event)
        try:
            work = wrapped(*args) if unstarted is None else unstarted.work
            del wrapped, args  # the function may let go of what it was given
            result = await work
        except BaseException as error:
            hide_frame(error)
            # As in Emitter.leave: where the stack ends, a call more may be one too many.
            if current.get() is event:
                current.set(outer)
            manager.finish(event, route, error)
            raise
        if current.get() is event:
            current.set(outer)
        manager.finish(event, route, None)
        return result

    def call(wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: KwArgs) -> Any:
        unstarted: Unstarted | None = None
        kind = wrapped.__class__
        bound = 0 if kind is FunctionType else 1 if kind is MethodType else sys.maxsize
        if kwargs or not fewest <= len(args) + bound <= most:
            unstarted = Unstarted()
            try:
                unstarted.work = wrapped(*args, **kwargs)
            except BaseException as error:
                hide_frame(error)
                raise
        return run(wrapped, args, unstarted, None if payload is None else payload(instance, args, kwargs))

    return call


def _positional(function: Callable[..., Any]) -> tuple[int, int]:
    """Return the fewest and the most positional arguments with which `function` can certainly be called.

    A call with so many need not be tried before it is awaited: making a coroutine that may never be started costs a
    fifth of a microsecond. If nothing is certain, the fewest are more than the most.
    """
    if type(function) is not FunctionType or not function.__code__.co_flags & inspect.CO_COROUTINE:
        return 1, 0  # it may do something when it is called, not only when it is awaited
    code, defaults = function.__code__, function.__defaults__ or ()
    if code.co_kwonlyargcount != len(function.__kwdefaults__ or ()):
        return 1, 0
    most = sys.maxsize - 1 if code.co_flags & inspect.CO_VARARGS else code.co_argcount
    return code.co_argcount - len(defaults), most


def _generator(
    drive: Callable[..., Callable[[], Any]], type: str, name: str, payload: Payload | None
) -> Wrapper:
    def call(wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: KwArgs) -> Any:
        try:
            inner = wrapped(*args, **kwargs)
        except BaseException as error:
            hide_frame(error)
            raise
        data = None if payload is None else payload(instance, args, kwargs)
        options = {"is_awaitable": True} if awaitable_generator(inner) else {}
        outer = drive(lambda: inner, lambda: get_callback_manager().event(type, data, name=name), **options)()
        outer.__name__, outer.__qualname__ = inner.__name__, inner.__qualname__
        return outer

    return call
