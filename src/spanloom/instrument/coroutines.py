"""Coroutine functions that replace others, with the same parameters, so that Python itself binds the arguments.

What takes any arguments has them packed into a tuple and a dictionary at each call, unpacks them again, and has to try
whether they fit. A function that has the same parameters as the other one needs none of that; arguments that do not fit
are an error of the call before anything of ours runs. There is no way to write such a function down once for all
numbers of parameters, so it is made from a text, as ``dataclasses`` makes its methods: once for each number.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeAlias

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.decorate import hide_frame

__all__ = ["ArgumentsPayload", "event_coroutine"]

ArgumentsPayload: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], dict[str, object] | None]
"""Returns the payload of the event from the positional and keyword arguments."""

_LINE: Final = sys._getframe().f_lineno + 2  # noqa: SLF001 -- tracebacks and profilers show the lines of this text
_TEXT: Final = """
def make(function, type, name, payload, enabled, get_callback_manager, hide_frame):
    async def run({parameters}):
        if enabled is not None and not enabled():
            return await function({arguments})
        manager = get_callback_manager()
        current = manager.current
        outer = current.get()
        data = None if payload is None else payload(({positional}), {{{named}}})
        event, route = manager.begin(type, name, data, outer)
        current.set(event)
        try:
            work = function({arguments})
            {release}  # the function may let go of what it was given
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
    return run
"""


class _Shape(NamedTuple):
    """How many parameters of each kind a function has."""

    positional: int
    keywords: int
    has_rest: bool
    has_others: bool


def event_coroutine(
    function: FunctionType,
    like: Callable[..., Any],
    type: str,
    name: str,
    payload: ArgumentsPayload | None,
    enabled: Callable[[], bool] | None = None,
) -> Callable[..., Any]:
    """Return a coroutine function with the parameters of `function` that awaits what that returns, in an event.

    Args:
        function: Called once the coroutine is awaited; returns an awaitable. Its parameters
            and their defaults are read now.
        like: The function whose names the coroutine function and its coroutines have.
        type: The events' type.
        name: Their name.
        payload: Returns the payload of an event from the arguments; ``None`` for none.
        enabled: Called when a coroutine begins; ``False``: no event.
    """
    code = function.__code__
    shape = _Shape(
        code.co_argcount,
        code.co_kwonlyargcount,
        bool(code.co_flags & inspect.CO_VARARGS),
        bool(code.co_flags & inspect.CO_VARKEYWORDS),
    )
    made = _maker(shape)(function, type, name, payload, enabled, get_callback_manager, hide_frame)
    count = sum(shape)
    words = dict(zip(made.__code__.co_varnames, code.co_varnames[:count], strict=False))
    made.__code__ = made.__code__.replace(
        co_varnames=tuple(words.get(word, word) for word in made.__code__.co_varnames),
        co_consts=tuple(_renamed(const, words) for const in made.__code__.co_consts),
        co_posonlyargcount=code.co_posonlyargcount,
    )
    functools.update_wrapper(made, like)
    made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return made


@functools.cache
def _maker(shape: _Shape) -> Callable[..., FunctionType]:
    positional = [f"_p{place}" for place in range(shape.positional)]
    keywords = [f"_k{place}" for place in range(shape.keywords)]
    rest, others = ["*_rest"] * shape.has_rest, ["**_others"] * shape.has_others
    star = rest or ["*"] * bool(keywords)
    names = [*positional, *keywords, *(each.lstrip("*") for each in (*rest, *others))]
    text = _TEXT.format(
        parameters=", ".join([*positional, *star, *keywords, *others]),
        arguments=", ".join([*positional, *rest, *(f"{word}={word}" for word in keywords), *others]),
        positional="".join(f"{each}, " for each in (*positional, *rest)),
        named=", ".join([*(f"{word!r}: {word}" for word in keywords), *others]),
        release=f"del {', '.join(names)}" if names else "pass",
    )
    found: dict[str, Any] = {}
    exec(compile("\n" * (_LINE - 1) + text, __file__, "exec"), found)  # noqa: S102 -- a text of ours, with names of ours
    made: Callable[..., FunctionType] = found["make"]
    return made


def _renamed(const: Any, words: dict[str, str]) -> Any:
    """Return a constant of the code with the parameter names of the function, by which it passes keyword arguments."""
    if isinstance(const, tuple):
        return tuple(_renamed(each, words) for each in const)
    return words.get(const, const) if isinstance(const, str) else const
