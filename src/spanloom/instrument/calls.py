"""What stands in the place of a function whose calls are events, one for each kind of function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.decorate import async_generator, generator, hide_frame
from spanloom.instrument.harmless import guarded
from spanloom.instrument.selected import Selector
from spanloom.instrument.unstarted import Unstarted
from spanloom.instrument.wrapped import Wrapper

__all__ = ["wrapper_of"]

Arguments: TypeAlias = tuple[Any, ...]
Payload: TypeAlias = Callable[[Any, Arguments, Mapping[str, Any]], dict[str, object] | None]


def wrapper_of(function: Callable[..., Any], type: str, name: str, selector: Selector | None) -> Wrapper:
    """Return what is to be called in the place of `function`; each call is an event.

    The arguments are given to the function where it is called: one too many is an error there, as ever.

    Args:
        function: Decides by its kind; it is not bound.
        type: The events' type.
        name: Their name.
        selector: Takes what they are to have of the arguments; ``None`` for nothing.
    """
    payload: Payload | None = None

    if selector is not None:
        is_bound = inspect.ismethod(function)  # already: its parameters are without the first one, too

        def select(instance: Any, args: Arguments, kwargs: Mapping[str, Any]) -> dict[str, object] | None:
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
    def call(wrapped: Callable[..., Any], instance: Any, args: Arguments, kwargs: Mapping[str, Any]) -> Any:
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
            manager.leave((event, route), outer, error)
            raise
        if current.get() is event:  # as in Emitter.leave, which would be a call more
            current.set(outer)
        manager.finish(event, route, None)
        return result

    return call


def _coroutine(function: Callable[..., Any], type: str, name: str, payload: Payload | None) -> Wrapper:
    # A coroutine has its names from the function that it is of.
    @functools.wraps(function)
    async def run(unstarted: Unstarted, data: dict[str, object] | None) -> Any:
        manager = get_callback_manager()
        current = manager.current
        outer = current.get()
        event, route = manager.begin(type, name, data, outer)
        current.set(event)
        try:
            result = await unstarted.work
        except BaseException as error:
            hide_frame(error)
            manager.leave((event, route), outer, error)
            raise
        if current.get() is event:
            current.set(outer)
        manager.finish(event, route, None)
        return result

    if payload is None:
        return lambda wrapped, _, args, kwargs: run(Unstarted(wrapped(*args, **kwargs)), None)
    return lambda wrapped, instance, args, kwargs: run(
        Unstarted(wrapped(*args, **kwargs)), payload(instance, args, kwargs)
    )


def _generator(
    drive: Callable[..., Callable[[], Any]], type: str, name: str, payload: Payload | None
) -> Wrapper:
    def call(wrapped: Callable[..., Any], instance: Any, args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        inner = wrapped(*args, **kwargs)
        data = None if payload is None else payload(instance, args, kwargs)
        outer = drive(lambda: inner, lambda: get_callback_manager().event(type, data, name=name))()
        outer.__name__, outer.__qualname__ = inner.__name__, inner.__qualname__
        return outer

    return call
