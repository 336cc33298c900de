"""`trace_method`: a method that is a trace."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from spanloom.callbacks.decorate import wrap

__all__ = ["trace_method"]

P = ParamSpec("P")
R = TypeVar("R")

_logger = logging.getLogger("spanloom.compat")


def trace_method(
    trace_id: str, callback_manager_attr: str = "callback_manager"
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that makes each call of a method a trace of its object's callback manager.

    For methods of any kind; the trace of a generator lasts until it is exhausted or closed. For an object without a
    manager, a warning is logged and the method runs without a trace.

    Args:
        trace_id: The name of the trace.
        callback_manager_attr: The attribute that holds the manager.
    """

    def decorator(function: Callable[P, R]) -> Callable[P, R]:
        # Any: each kind of function has another return type, which R stands for as a whole.
        def traced(self: Any) -> Callable[..., Any]:
            manager = getattr(self, callback_manager_attr, None)
            if manager is None:
                _logger.warning(
                    "%s has no attribute %s: no trace", type(self).__name__, callback_manager_attr
                )
                return function
            return wrap(function, lambda: manager.as_trace(trace_id))

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            return traced(self)(self, *args, **kwargs)

        async def call_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await traced(self)(self, *args, **kwargs)

        wrapper = call_async if inspect.iscoroutinefunction(function) else call
        return cast("Callable[P, R]", functools.wraps(function)(wrapper))

    return decorator
