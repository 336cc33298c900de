"""`traced`: every call of a function is an event, and nothing else about the function changes."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import FunctionType, ModuleType
from typing import Any, Final, TypeAlias, TypeVar, overload

from spanloom.concurrency.names import name_of
from spanloom.events.types import EventType
from spanloom.instrument.patches import Patches
from spanloom.instrument.selected import Selector

__all__ = ["Attributes", "instrument_class", "instrument_module", "traced"]

T = TypeVar("T")

Attributes: TypeAlias = Sequence[str] | Mapping[str, Callable[[Any], object]]
"""The parameters whose values an event records; see `traced`."""

_METHODS: Final = (FunctionType, classmethod, staticmethod, functools.singledispatchmethod)
_PROPERTIES: Final = (property, functools.cached_property)


@overload
def traced(function: T, /) -> T: ...


@overload
def traced(
    *, name: str | None = None, type: str = EventType.CALL, attributes: Attributes = ()
) -> Callable[[T], T]: ...


def traced(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    type: str = EventType.CALL,
    attributes: Attributes = (),
) -> Any:
    """Make every call of a function an event of the ambient manager.

    ::

        @traced
        async def fetch(url: str) -> bytes: ...

        @traced(name="embed", attributes={"texts": len, "model": str})
        def embed(texts: list[str], model: str = "small") -> list[Vector]: ...

    Functions, coroutine functions, generators and async generators; also above or below ``@classmethod``,
    ``@staticmethod``, ``@property``, ``@cached_property`` and ``@singledispatchmethod``; of a class, all of its public
    methods, as by `instrument_class`. The event of a coroutine begins when it is awaited, that of a generator with its
    first item; it lasts until it is exhausted or closed, and is current only while its body runs.

    What can be seen of the function stays as it was: name, signature, kind, pickling, binding, and the tracebacks of
    what it raises. Tracing what is traced already changes nothing.

    Args:
        function: What to trace.
        name: The events' name; by default the function's qualified name.
        type: Their type.
        attributes: Parameters whose values are attached: their names, or a mapping from the names to functions that
            are given the value. Nothing is attached by default. Numbers, flags and texts are kept, texts up to 500
            characters; of all else the name of its type.

    Raises:
        TypeError: `function` cannot be traced, or is a class and `name` or `attributes` was given: its methods
            have names and parameters of their own.
        ValueError: it has no parameter of a name in `attributes`.
    """
    if function is None:
        return lambda decorated: _traced(decorated, name, type, attributes)
    return _traced(function, name, type, attributes)


def _traced(
    function: Any,
    name: str | None,
    event_type: str,
    attributes: Attributes,
    enabled: Callable[[], bool] | None = None,
) -> Any:
    from spanloom.instrument.calls import quick_call_of, wrapper_of
    from spanloom.instrument.wrapped import QuickFunction, WrappedFunction

    def again(inner: Any, attributes: Attributes = attributes) -> Any:
        return inner and _traced(inner, name, event_type, attributes, enabled)

    if isinstance(function, WrappedFunction):
        return function
    if inspect.isclass(function):
        if name is not None or attributes:
            raise TypeError(
                f"traced(name=..., attributes=...) is for one function: decorate the methods of "
                f"{function.__qualname__} with it, not the class"
            )
        patches = Patches()
        _trace_members(patches, _Undoable(patches, event_type), function, _METHODS, "*", ())
        return function
    if isinstance(function, functools.cached_property):
        return _like_cached_property(function, again(function.func))
    if isinstance(function, property):
        getter, setter, deleter = function.fget, function.fset, function.fdel
        return _like_property(function, again(getter, ()), again(setter, ()), again(deleter, ()))
    if type(function) in (classmethod, staticmethod) and isinstance(function.__func__, FunctionType):
        inner = again(function.__func__)
        return function if inner is function.__func__ else type(function)(inner)
    inner = function.func if isinstance(function, functools.singledispatchmethod) else function
    bound: int | None = None
    if isinstance(inner, (classmethod, staticmethod)):
        bound = int(isinstance(inner, classmethod))
        inner = inner.__func__
    if not callable(inner):
        raise TypeError(f"traced() is for functions, methods, properties and classes, not {function!r}")
    selector = Selector(inner, attributes) if attributes else None
    label = name or name_of(inner) or "call"

    def quick(function: Any) -> Any:
        return quick_call_of(function, event_type, label, selector, enabled)

    return QuickFunction(function, wrapper_of(inner, event_type, label, selector, bound), enabled, quick)


def _like_property(original: property, fget: Any, fset: Any, fdel: Any) -> property:
    """Return a property of the same class with other accessors; the class may be that of a cached property."""
    if type(original) is property:
        return property(fget, fset, fdel, original.__doc__)
    made = property.__new__(type(original))  # neither its own arguments nor `copy` are known to make one
    vars(made).update(vars(original))
    property.__init__(made, fget, fset, fdel, original.__doc__)
    return made


def _like_cached_property(
    original: functools.cached_property[Any], function: Any
) -> functools.cached_property[Any]:
    if type(original) is functools.cached_property:
        return functools.cached_property(function)
    made = copy.copy(original)
    made.func = function
    return made


def instrument_class(
    cls: type,
    *,
    include: str | Iterable[str] = "*",
    exclude: str | Iterable[str] = (),
    properties: bool = False,
) -> Patches:
    """Trace the methods of a class, those that it defines itself: functions, classmethods, staticmethods.

    The class stays the same object. Names that begin with an underscore are left out unless a pattern of `include`
    begins with one, too.

    Args:
        cls: The class.
        include: Patterns of names, as in ``fnmatch``: ``"get_*"``.
        exclude: Patterns of names that are left out all the same.
        properties: Trace properties as well.

    Returns:
        What has been replaced: its ``undo()`` puts it back.

    Raises:
        TypeError: `cls` is no class, or a built-in one, which cannot be changed.
    """
    if not inspect.isclass(cls):
        raise TypeError(f"instrument_class() needs a class, not {cls!r}")
    patches = Patches()
    kinds = (*_METHODS, *_PROPERTIES) if properties else _METHODS
    _trace_members(patches, _Undoable(patches), cls, kinds, include, exclude)
    return patches


def instrument_module(
    module: ModuleType, *, include: str | Iterable[str] = "*", exclude: str | Iterable[str] = ()
) -> Patches:
    """Trace the functions of a module and the methods of its classes, those that it defines itself.

    Other modules that have got a function from it by ``from module import function`` have the traced one, too.

    Args:
        module: The module.
        include: Patterns of names, as in ``fnmatch``, of functions and of classes; of a class, all public methods are
            traced. Names that begin with an underscore are left out unless a pattern begins with one, too.
        exclude: Patterns of names that are left out all the same.

    Returns:
        What has been replaced: its ``undo()`` puts it back.

    Raises:
        TypeError: `module` is no module.
    """
    if not isinstance(module, ModuleType):
        raise TypeError(f"instrument_module() needs a module, not {module!r}")
    patches = Patches()
    make = _Undoable(patches)
    for name in _chosen(vars(module), (FunctionType, type), include, exclude):
        value = vars(module)[name]
        if value.__module__ != module.__name__:
            continue
        if not inspect.isclass(value):
            patches.replace(module, name, make)
        else:
            _trace_members(patches, make, value, _METHODS, "*", ())
    patches.settle()
    return patches


class _Undoable:
    """Traces functions until they are undone; a function with two names is traced once, under both."""

    def __init__(self, patches: Patches, event_type: str = EventType.CALL) -> None:
        self._patches = patches
        self._type = event_type
        self._made: dict[int, tuple[Any, Any]] = {}

    def __call__(self, function: Any) -> Any:
        made = self._made.get(id(function))
        if made is None:
            made = function, _traced(function, None, self._type, (), self._patches.is_active)
            self._made[id(function)] = made
        return made[1]


def _trace_members(
    patches: Patches,
    make: _Undoable,
    cls: type,
    kinds: tuple[type, ...],
    include: str | Iterable[str],
    exclude: str | Iterable[str],
) -> None:
    for name in _chosen(vars(cls), kinds, include, exclude):
        if not _is_to_trace(vars(cls)[name]):
            continue
        patches.replace(cls, name, make)
        member = vars(cls)[name]
        if isinstance(member, functools.cached_property):
            member.__set_name__(cls, name)  # as class creation does


def _is_to_trace(member: Any) -> bool:
    """Tell whether a classmethod or staticmethod has a function that is not traced yet; ``True`` for all else."""
    from spanloom.instrument.wrapped import WrappedFunction

    if not isinstance(member, (classmethod, staticmethod)):
        return True
    inner = member.__func__
    return callable(inner) and not isinstance(inner, (WrappedFunction, type))


def _chosen(
    names: Mapping[str, Any],
    kinds: tuple[type, ...],
    include: str | Iterable[str],
    exclude: str | Iterable[str],
) -> list[str]:
    """Return the names of the values of one of `kinds` that match the patterns and are not traced yet."""
    wanted = (include,) if isinstance(include, str) else tuple(include)
    unwanted = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    return [
        name
        for name, value in names.items()
        if issubclass(type(value), kinds)  # not isinstance: a traced function claims to be a function, too
        and any(fnmatchcase(name, each) and name.startswith("_") <= each.startswith("_") for each in wanted)
        and not any(fnmatchcase(name, each) for each in unwanted)
    ]
