"""Reading attributes of other people's objects without running any of their code."""

from __future__ import annotations

import asyncio
from asyncio import futures, tasks
from collections.abc import Mapping
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

__all__ = ["FUTURES", "TASKS", "attributes", "field", "future_done", "is_future", "is_pool_call", "is_task"]

FUTURES: Final[tuple[type, ...]] = tuple({asyncio.Future, futures._PyFuture})  # type: ignore[attr-defined] # noqa: SLF001 -- who has no C has this
TASKS: Final[tuple[type, ...]] = tuple({asyncio.Task, tasks._PyTask})  # type: ignore[attr-defined] # noqa: SLF001 -- who has no C has this
_NOTHING: Final[Mapping[str, object]] = {}
_DESCRIPTORS: Final = (MemberDescriptorType, GetSetDescriptorType)


def is_future(value: object) -> bool:
    """Return whether `value` is a future of asyncio, by its type alone."""
    return issubclass(type(value), FUTURES)


def is_task(value: object) -> bool:
    """Return whether `value` is a task of asyncio, by its type alone."""
    return issubclass(type(value), TASKS)


def is_pool_call(value: object) -> bool:
    """Return whether `value` is what an executor of the standard library keeps of a call until that has ended."""
    kind = type(value)
    return kind.__name__ == "_WorkItem" and kind.__module__.startswith("concurrent.futures.")


def attributes(value: object) -> Mapping[str, object]:
    """Return the instance's own dictionary, empty if it has none; never asks the instance."""
    for cls in type(value).__mro__:
        descriptor: Any = cls.__dict__.get("__dict__")
        if isinstance(descriptor, GetSetDescriptorType):
            try:
                found: object = descriptor.__get__(value)
            except (AttributeError, TypeError):
                return _NOTHING
            return found if type(found) is dict else _NOTHING
    return _NOTHING


def field(value: object, name: str, default: Any = None) -> Any:
    """Return the attribute `name` if it lies in the instance or in a slot; properties are not run."""
    found = attributes(value)
    if name in found:
        return found[name]
    for cls in type(value).__mro__:
        descriptor: Any = cls.__dict__.get(name)
        if type(descriptor) in _DESCRIPTORS:
            try:
                return descriptor.__get__(value)
            except AttributeError:
                return default
    return default


def future_done(value: object) -> bool:
    """Return whether a future of asyncio has ended, without asking a subclass."""
    return bool(field(value, "_state", "PENDING") != "PENDING")
