"""Reading attributes of other people's objects without running any of their code."""

from __future__ import annotations

import asyncio
from asyncio import futures, tasks
from collections.abc import Callable, Mapping
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any, Final, TypeGuard, TypeVar

from spanloom.concurrency.task import JobTask

__all__ = [
    "FUTURES",
    "TASKS",
    "attributes",
    "callbacks_of",
    "closure_of",
    "field",
    "future_done",
    "gathered",
    "in_class",
    "is_a",
    "is_future",
    "is_pool_call",
    "is_task",
    "loop_of",
    "module_of",
    "namespace_of",
    "task_cancelling",
    "task_name",
]

FUTURES: Final[tuple[type, ...]] = tuple({asyncio.Future, futures._PyFuture})  # type: ignore[attr-defined] # noqa: SLF001 -- who has no C has this
TASKS: Final[tuple[type, ...]] = tuple({asyncio.Task, tasks._PyTask})  # type: ignore[attr-defined] # noqa: SLF001 -- who has no C has this
_T = TypeVar("_T")
_NOTHING: Final[Mapping[str, object]] = {}
_MODULE_DICT: Final[Any] = vars(ModuleType)["__dict__"]
_DESCRIPTORS: Final = (MemberDescriptorType, GetSetDescriptorType)


def is_a(value: object, types: type[_T] | tuple[type[_T], ...]) -> TypeGuard[_T]:
    """Return whether `value` is an instance, by its type alone: ``isinstance`` asks the object itself, too."""
    return issubclass(type(value), types)


def module_of(kind: type) -> str:
    """Return the module of a class; empty if its ``__module__`` is no text, as with proxies."""
    found: object = kind.__module__
    return found if type(found) is str else ""


def is_future(value: object) -> bool:
    """Return whether `value` is a future of asyncio, by its type alone."""
    return issubclass(type(value), FUTURES)


def is_task(value: object) -> bool:
    """Return whether `value` is a task of asyncio, by its type alone."""
    return issubclass(type(value), TASKS)


def is_pool_call(value: object) -> bool:
    """Return whether `value` is a ``_WorkItem``: a call that an executor of the standard library has queued or runs."""
    kind = type(value)
    return kind.__name__ == "_WorkItem" and module_of(kind).startswith("concurrent.futures.")


def in_class(kind: type, name: str) -> object:
    """Return the raw entry `name` of a class or its bases, in method resolution order; ``None`` if there is none."""
    return next((cls.__dict__[name] for cls in kind.__mro__ if name in cls.__dict__), None)


def attributes(value: object) -> Mapping[str, object]:
    """Return the instance's own ``__dict__``, empty if it has none; runs no ``__getattribute__``."""
    for cls in type(value).__mro__:
        descriptor: Any = cls.__dict__.get("__dict__")
        if type(descriptor) is GetSetDescriptorType:
            try:
                found: object = descriptor.__get__(value)
            except (AttributeError, TypeError):
                return _NOTHING
            return found if type(found) is dict else _NOTHING
    return _NOTHING


def _described(cls: type) -> dict[str, Any] | None:
    """Return the slots and getters of a class by name; ``None`` if its instances have a ``__dict__`` besides."""
    if any("__dict__" in base.__dict__ for base in cls.__mro__):
        return None
    return {
        name: descriptor
        for base in reversed(cls.__mro__)
        for name, descriptor in base.__dict__.items()
        if type(descriptor) in _DESCRIPTORS
    }


_FREQUENT: Final[dict[type, dict[str, Any] | None]] = {
    cls: _described(cls) for cls in (*FUTURES, *TASKS, JobTask, asyncio.Handle, asyncio.TimerHandle)
}
"""Descriptors of the classes that a look reads most: found once, as the classes never change."""


def field(value: object, name: str, default: Any = None) -> Any:
    """Return the attribute `name` if it lies in the instance or in a slot; properties are not run."""
    frequent = _FREQUENT.get(type(value))
    if frequent is not None:
        known = frequent.get(name)
        try:
            return default if known is None else known.__get__(value)
        except AttributeError:
            return default
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


_STATES: Final[dict[type, Callable[[object], object]]] = {
    cls: known["_state"].__get__
    for cls, known in _FREQUENT.items()
    if known is not None and "_state" in known
}
"""Readers of ``_state``, by class: the shortest way, as a look reads thousands of futures."""


def future_done(value: object) -> bool:
    """Return whether a future of asyncio has ended, without asking a subclass."""
    read = _STATES.get(type(value))
    state = field(value, "_state", "PENDING") if read is None else read(value)
    return bool(state != "PENDING")


def loop_of(future: object) -> Any:
    """Return the loop of a future of asyncio, without asking a subclass; ``None`` if it has none."""
    return field(future, "_loop")


def task_name(task: asyncio.Task[Any]) -> str:
    """Return the name of a task, without asking a subclass."""
    name = asyncio.Task.get_name if issubclass(type(task), asyncio.Task) else tasks._PyTask.get_name  # type: ignore[attr-defined] # noqa: SLF001 -- as above
    return str(name(task))


def task_cancelling(task: asyncio.Task[Any]) -> int:
    """Return how many requests to cancel a task are pending, without asking a subclass."""
    pending = asyncio.Task.cancelling if issubclass(type(task), asyncio.Task) else tasks._PyTask.cancelling  # type: ignore[attr-defined] # noqa: SLF001 -- as above
    return int(pending(task))


def namespace_of(module: object) -> Mapping[str, Any]:
    """Return the variables of a module; empty if `module` is no module.

    Not by ``vars``, which would load a lazy module (`importlib.util.LazyLoader`).
    """
    return _MODULE_DICT.__get__(module) or _NOTHING if issubclass(type(module), ModuleType) else _NOTHING


def gathered(future: object) -> list[Any] | None:
    """Return the children of the future that ``gather`` returned; ``None`` if `future` is no such future."""
    # By the exact type, so the attribute is asyncio's; not by `field`: a future in C shows no ``__dict__`` descriptor.
    if type(future) is not tasks._GatheringFuture:  # type: ignore[attr-defined] # noqa: SLF001 -- what gather() returns
        return None
    found: list[Any] = future._children  # type: ignore[attr-defined] # noqa: SLF001 -- as above
    return found


def callbacks_of(future: object) -> list[Any]:
    """Return the done-callbacks of a future of asyncio."""
    found = field(future, "_callbacks")
    return [entry[0] for entry in found if type(entry) is tuple] if type(found) is list else []


def closure_of(function: object) -> dict[str, object]:
    """Return the closure variables of a function by name; empty if `function` is no Python function."""
    found: dict[str, object] = {}
    if type(function) is FunctionType:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                found[name] = cell.cell_contents
            except ValueError:  # not bound yet, or any more
                continue
    return found
