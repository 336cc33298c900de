"""A function in the place of another that nobody can tell from it: wrapt's, which can be pickled and copied as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
        enabled: Called with each call; False to have it go where it would go without.
    """

    def __init__(
        self, wrapped: Callable[..., Any], wrapper: Wrapper, enabled: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(wrapped, wrapper, enabled)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return by_name(self)


class QuickFunction(WrappedFunction):
    """A `WrappedFunction` that asks the function itself for nothing when it is called; of a bound one, see `_Bound`.

    wrapt asks each time what the function is bound to, and for most is told by an AttributeError that they are not:
    half a microsecond. The wrapper runs one frame deeper than that of a `WrappedFunction`.
    """

    def __init__(
        self, wrapped: Callable[..., Any], wrapper: Wrapper, enabled: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(wrapped, wrapper, enabled)
        self._self_call = wrapped, getattr(wrapped, "__self__", None), wrapper, enabled

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        wrapped, instance, wrapper, enabled = self._self_call
        try:
            if enabled is None or enabled():
                return wrapper(wrapped, instance, args, kwargs)
            return wrapped(*args, **kwargs)
        except BaseException as error:
            hide_frame(error)
            raise


# Not in the class: pyright takes it for another attribute than its base class has, and with an annotation of its own
# the class would not show the annotations of what it wraps.
setattr(WrappedFunction, "__bound_function_wrapper__", _Bound)  # noqa: B010 -- mypy takes it for an instance's
