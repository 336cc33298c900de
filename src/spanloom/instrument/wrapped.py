"""A wrapper that cannot be told from its function: wrapt's, made to be pickled and copied as functions are."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

import wrapt

from spanloom.callbacks.decorate import hide_frame
from spanloom.instrument.functions import Copied, Wrapper, by_name

__all__ = ["QuickFunction", "WrappedFunction"]

# Its types have parameters that the classes themselves do not.
if TYPE_CHECKING:
    FunctionWrapper = wrapt.FunctionWrapper[..., Any]
    BoundFunctionWrapper = wrapt.BoundFunctionWrapper[..., Any]
else:
    FunctionWrapper = wrapt.FunctionWrapper
    BoundFunctionWrapper = wrapt.BoundFunctionWrapper


_CLASS_METHODS: Final = ("__init_subclass__", "__class_getitem__")
"""Python makes functions with these names in a class body classmethods, but not other callables."""

_BINDING: Final = frozenset({"__code__", "__defaults__", "__kwdefaults__"})
"""Attributes that determine how a function takes its arguments; they can be set."""


class _Bound(Copied, BoundFunctionWrapper):
    """A `WrappedFunction` that was looked up in a class or an instance."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        owner = getattr(self.__wrapped__, "__self__", None)
        return by_name(self) if owner is None else (getattr, (owner, self.__name__))


class WrappedFunction(Copied, FunctionWrapper):
    """A function, or a descriptor of one, whose calls go to a `Wrapper`.

    Args:
        wrapped: What the class or the module has: a function, a classmethod, a staticmethod.
        wrapper: Is called in its place.
        enabled: Called at each call; ``False``: the call goes to the original.
    """

    def __init__(
        self, wrapped: Callable[..., Any], wrapper: Wrapper, enabled: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(wrapped, wrapper, enabled)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return by_name(self)


class QuickFunction(WrappedFunction):
    """A `WrappedFunction` that asks the function itself for nothing when it is called, and is bound as functions are.

    wrapt asks each time what the function is bound to, and for most is told by an AttributeError that they are not:
    half a microsecond. A plain function in a class is the same object at each look (``Sub.run is Base.run`` tells
    whether it is overridden), and a method of an instance one that ``weakref.WeakMethod`` can make anew.

    Args:
        wrapped, wrapper, enabled: As for `WrappedFunction`.
        quick: Called with the function; returns a function to call in its place without the `Wrapper`, or ``None``.

    Attributes:
        __call__: What a call goes to. Not a method: Python finds it here as it would one, and calls it without this
            object as its first argument, which would be a frame of its own with all arguments packed and unpacked.
    """

    __slots__ = ("__call__",)

    def __init__(
        self,
        wrapped: Callable[..., Any],
        wrapper: Wrapper,
        enabled: Callable[[], bool] | None = None,
        quick: Callable[[Any], Callable[..., Any] | None] | None = None,
    ) -> None:
        super().__init__(wrapped, wrapper, enabled)
        self._self_quick = quick
        self._self_call = _through(wrapped, wrapper, enabled)
        self._self_set_call()

    def _self_set_call(self) -> None:
        quick = None if self._self_quick is None else self._self_quick(self.__wrapped__)
        setattr(self, "__call__", quick or self._self_call)  # noqa: B010 -- mypy takes it for a method

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _BINDING:
            self._self_set_call()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if type(self.__wrapped__) is not FunctionType:
            return super().__get__(instance, owner)
        return self if instance is None else MethodType(self, instance)

    def __set_name__(self, owner: type, name: str) -> None:
        if type(self.__wrapped__) is FunctionType and name in _CLASS_METHODS:
            setattr(owner, name, classmethod(self))
        elif (set_name := getattr(self.__wrapped__, "__set_name__", None)) is not None:
            set_name(owner, name)


def _through(
    wrapped: Callable[..., Any], wrapper: Wrapper, enabled: Callable[[], bool] | None
) -> Callable[..., Any]:
    """Return a function that calls `wrapper` with the function, the object it is bound to, and the arguments."""
    instance = getattr(wrapped, "__self__", None)

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            if enabled is None or enabled():
                return wrapper(wrapped, instance, args, kwargs)
            return wrapped(*args, **kwargs)
        except BaseException as error:
            hide_frame(error)
            raise

    return call


# Not in the class: pyright takes it for another attribute than its base class has, and with an annotation of its own
# the class would not show the annotations of what it wraps.
setattr(WrappedFunction, "__bound_function_wrapper__", _Bound)  # noqa: B010 -- mypy takes it for an instance's
