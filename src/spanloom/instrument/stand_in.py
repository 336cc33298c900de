"""A function in the place of one that a patch replaces: without wrapt, which takes too long to load at a start.

What is replaced is a plain function nearly always, and a plain function in its place has everything that it had, but
for one thing: nobody would take it for a coroutine function, or for a generator function, if it is none. For those
there is an object that says of itself that it is a function, as wrapt's do. Neither adds a frame to a coroutine.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Final

from spanloom.instrument.functions import Args, Copied, KwArgs, Wrapper, by_name

__all__ = ["stand_in"]

_TOLD_BY_FLAGS: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_OURS: Final = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120 -- what paths in frames are


def stand_in(original: Any, wrapper: Wrapper, enabled: Callable[[], bool], *, is_method: bool) -> Any:
    """Return what stands in the place of `original` and calls `wrapper`, one frame of ours between it and the caller.

    Signature, name, kind (``inspect.iscoroutinefunction``), binding and pickling stay those of the original.

    Args:
        original: What a class or a module has: a function, a classmethod, a staticmethod, anything that can be called.
        wrapper: Is called in its place.
        enabled: Called at each call; ``False``: the call goes to the original.
        is_method: Whether it is an attribute of a class.
    """
    kind = type(original)
    if kind is FunctionType:
        special = bool(original.__code__.co_flags & _TOLD_BY_FLAGS)
        return (_Alike if special else _function)(original, wrapper, enabled, is_method)
    if kind is classmethod:
        return classmethod(stand_in(original.__func__, wrapper, enabled, is_method=True))
    if kind is staticmethod:
        return staticmethod(stand_in(original.__func__, wrapper, enabled, is_method=False))
    from spanloom.instrument.wrapped import WrappedFunction  # for all other kinds of callables

    def one_deeper(wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: KwArgs) -> Any:
        return wrapper(wrapped, instance, args, kwargs)

    return WrappedFunction(original, one_deeper, enabled)


def _function(original: Any, wrapper: Wrapper, enabled: Callable[[], bool], is_method: bool) -> Any:
    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            if enabled():
                return wrapper(MethodType(original, self), self, args, kwargs)
            return original(self, *args, **kwargs)
        except BaseException as error:
            _hide_frames(error)
            raise

    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            return wrapper(original, None, args, kwargs) if enabled() else original(*args, **kwargs)
        except BaseException as error:
            _hide_frames(error)
            raise

    return functools.wraps(original)(method if is_method else function)


def _hide_frames(error: BaseException) -> None:
    """Take the frame that has just caught `error` out of its traceback, and the wrapper's if it is there still."""
    traceback = error.__traceback__ and error.__traceback__.tb_next
    if traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_OURS):
        traceback = traceback.tb_next
    error.__traceback__ = traceback


class _Alike(Copied):
    """Replaces a function whose kind (coroutine function, generator function) is told by the flags of its code."""

    def __init__(self, original: Any, wrapper: Wrapper, enabled: Callable[[], bool], is_method: bool) -> None:
        functools.update_wrapper(self, original)
        self._call = original, wrapper, enabled, is_method

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        original, wrapper, enabled, is_method = self._call
        try:
            if not enabled() or (is_method and not args):
                return original(*args, **kwargs)
            if is_method:
                return wrapper(MethodType(original, args[0]), args[0], args[1:], kwargs)
            return wrapper(original, None, args, kwargs)
        except BaseException as error:
            _hide_frames(error)
            raise

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> type:
        return FunctionType

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__wrapped__"], name)

    def __repr__(self) -> str:
        return repr(self.__dict__["__wrapped__"])

    def __reduce_ex__(self, protocol: Any) -> Any:
        return by_name(self)
