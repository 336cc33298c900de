"""The wrappers of functions whose calls are events, one for each kind of function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, TypeAlias, cast

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.decorate import (
    async_generator,
    awaitable_generator,
    generator,
    hide_frame,
    is_coroutine_function,
    is_of_kind,
)
from spanloom.instrument.coroutines import ArgumentsPayload, event_coroutine
from spanloom.instrument.functions import Args, KwArgs, Wrapper
from spanloom.instrument.harmless import guarded
from spanloom.instrument.selected import Selector
from spanloom.instrument.unstarted import Unstarted

__all__ = ["quick_call_of", "wrapper_of"]

Payload: TypeAlias = Callable[[Any, Args, KwArgs], dict[str, object] | None]


def wrapper_of(
    function: Callable[..., Any], type: str, name: str, selector: Selector | None, bound: int | None = None
) -> Wrapper:
    """Return the wrapper to call in place of `function`, so that each call is an event.

    Arguments that do not fit raise `TypeError` at the call, as with the function itself, not when it is awaited.

    Args:
        function: The function, not bound; its kind decides what is returned.
        type: The events' type.
        name: Their name.
        selector: Selects the arguments that the events record; ``None`` for none.
        bound: Number of leading parameters that no call is given, since they are bound; ``None`` if that depends on
            what it is looked up in.
    """
    payload: Payload | None = None

    if selector is not None:
        is_bound = inspect.ismethod(function)  # its parameters lack the first one then, too

        def select(instance: Any, args: Args, kwargs: KwArgs) -> dict[str, object] | None:
            missing = bound
            if missing is None:
                missing = 0 if instance is None or is_bound else 1
            return guarded(name, selector.select, args, kwargs, missing)

        payload = select
    if is_of_kind(inspect.isasyncgenfunction, function):
        return _generator(async_generator, type, name, payload)
    if is_of_kind(inspect.isgeneratorfunction, function):
        return _generator(generator, type, name, payload)
    if is_coroutine_function(function):
        return _coroutine(function, type, name, payload)
    return _function(type, name, payload)


def quick_call_of(
    function: Callable[..., Any],
    type: str,
    name: str,
    selector: Selector | None,
    enabled: Callable[[], bool] | None,
) -> Callable[..., Any] | None:
    """Return a cheaper function to call in place of `function` itself; ``None`` if there is none for its kind.

    Args:
        function, type, name, selector: As for `wrapper_of`.
        enabled: Called at each call; ``False``: no event.
    """
    called: Any = getattr(function, "__call__", None)  # noqa: B004 -- what an object that can be called has there
    if not isinstance(called, MethodType):
        called = function
    method = called if isinstance(called, MethodType) else None
    inner: Any = called if method is None else method.__func__
    if inner.__class__ is not FunctionType or not inner.__code__.co_flags & inspect.CO_COROUTINE:
        return None  # it may do something at the call already, not only when it is awaited
    payload: ArgumentsPayload | None = None
    if selector is not None:
        select = selector.select

        def selected(args: Args, kwargs: KwArgs) -> dict[str, object] | None:
            return guarded(name, select, args if method is None else args[1:], kwargs)

        payload = selected
    quick = event_coroutine(inner, inner, type, name, payload, enabled)
    return quick if method is None else MethodType(quick, method.__self__)


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
    run = event_coroutine(cast("FunctionType", Unstarted.take), function, type, name, _attached)

    def call(wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: KwArgs) -> Any:
        unstarted = Unstarted()
        try:
            unstarted.work = wrapped(*args, **kwargs)
        except BaseException as error:
            hide_frame(error)
            raise
        unstarted.data = None if payload is None else payload(instance, args, kwargs)
        return run(unstarted)

    return call


def _attached(args: Args, _: KwArgs) -> dict[str, object] | None:
    data: dict[str, object] | None = args[0].data
    return data


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
