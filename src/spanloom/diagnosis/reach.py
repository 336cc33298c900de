"""What an actor may still do: which objects it can come to, and which methods of them its code knows by name.

Whether a wait can end is asked the way a tracing garbage collector asks whether an object can be used: from
what is still running, follow all references. That alone says too much, as every function leads to its module
and thus to the whole program. So the code is followed together with the data, as in rapid type analysis
(Bacon and Sweeney, 1996): of a module or a class, only those entries are followed whose names the code
reached so far uses, and of a suspended frame only what is ahead of it. Weak references count as references.
Where code looks names up at run time, every name counts.

One noun, and a little long: most of it is one visitor, with a method for each kind of object that is gone through.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import logging
import operator
import sys
import weakref
from collections.abc import Iterable
from gc import get_referents
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FrameType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any, Final

from spanloom.diagnosis.ahead import MANAGERS, Ahead, Bytecode
from spanloom.diagnosis.balanced import RELEASE, takes_first
from spanloom.diagnosis.budget import Budget
from spanloom.diagnosis.chain import SUSPENDABLE, link_of
from spanloom.diagnosis.fields import (
    FUTURES,
    TASKS,
    attributes,
    field,
    future_done,
    in_class,
    is_a,
    is_future,
    is_pool_call,
    is_task,
    module_of,
    namespace_of,
)
from spanloom.diagnosis.hubs import is_hub
from spanloom.diagnosis.origin import is_standard
from spanloom.diagnosis.pace import step
from spanloom.diagnosis.spoken import HEARING, handlers_of, streams

__all__ = ["Reach"]

_ATOMS: Final = frozenset(
    {
        int,
        float,
        str,
        bytes,
        bool,
        complex,
        type(None),
        CodeType,
        range,
        slice,
        type(Ellipsis),
        type(NotImplemented),
    }
)
_OPERATORS: Final = frozenset({operator.attrgetter, operator.methodcaller})
_PLAIN: Final[frozenset[type]] = frozenset({dict, list, tuple, set, frozenset, CellType})
_NOTING: Final = ("spanloom.instrument.spawned", "spanloom.instrument.task_batch")
_SILENT: Final = (
    "spanloom.diagnosis",
    "spanloom.callbacks",
    "spanloom.handlers",
    "spanloom.store",
    "spanloom.events",
    *_NOTING,
)
"""What listens: it has the program's tasks, and gives them nothing."""
_PASSED_BY: Final = ("spanloom.diagnosis", "spanloom.instrument")
"""Whose functions do nothing for the program but call those of it that they have: a ``create_task`` that is noted."""
_PRIMITIVES: Final = frozenset({"spanloom.concurrency.slots", "spanloom.concurrency.limits"})
"""Of ours, what is to be taken like a primitive of asyncio: by the names of the methods, not by their code."""
_PROTOCOL: Final = frozenset(
    {
        "data_received",
        "connection_made",
        "connection_lost",
        "eof_received",
        "datagram_received",
        "error_received",
    }
    | {"pipe_data_received", "pipe_connection_lost", "process_exited", "pause_writing", "resume_writing"}
    | {"buffer_updated", "get_buffer", "set_result", "set_exception", "cancel"}
)


class Reach:
    """The closure of one actor.

    Attributes:
        objects: All that can be reached, by identity; kept alive, so that no identity is used twice.
        names: The names that its code may use.
        gives: ``(identity, method)`` of methods that it holds as values, as in ``call_later(1, event.set)``.
        dynamic: Whether it may use any name.
    """

    def __init__(
        self, bytecode: Bytecode, budget: Budget, owned: frozenset[int], contexts: Iterable[Any] = ()
    ) -> None:
        self.objects: dict[int, object] = {}
        self.names: set[str] = set()
        self.calm: set[str] = set()
        self.gives: set[tuple[int, str]] = set()
        self.dynamic: bool = False
        self._bytecode = bytecode
        self._budget = budget
        self._owned = owned
        self._contexts = list(contexts)
        self._variables: list[contextvars.ContextVar[object]] = []
        self._waiting: dict[str, list[object]] = {}
        self._todo: list[object] = []
        self._transports = False
        self._kept_back = False
        self._heard: set[int] = set()
        self._codes: set[int] = set()
        self._aheads: dict[tuple[int, int], Ahead] = {}
        self._classes: set[tuple[int, bool]] = set()

    def can(self, resource: object, givers: frozenset[str] | None) -> bool:
        """Return whether the actor can end a wait for `resource` that one of the methods `givers` ends."""
        key = id(resource)
        if givers is None:
            return key in self.objects
        if key in self.objects and (self.dynamic or not givers.isdisjoint(self.names)):
            return True
        return any((key, name) in self.gives for name in givers)

    def transport(self) -> None:
        """Add what transports call of protocols."""
        self._learn(_PROTOCOL)
        self._transports = True

    # what it starts from ----------------------------------------------------------------------------------

    def frame(self, ahead: Ahead, namespace: dict[str, Any], values: Iterable[object]) -> None:
        """Add a frame: the code that is ahead of it, and the values that it can still use."""
        if (id(ahead), id(namespace)) not in self._aheads:  # of thousands of tasks it is often the same
            self._aheads[id(ahead), id(namespace)] = ahead
            self._use(ahead.names, ahead.dynamic, namespace)
            self.calm |= ahead.calm
        self._todo.extend(values)
        self._run()

    def handed(self, ahead: Ahead, values: Iterable[object]) -> None:
        """Add values on which code calls nothing but the methods that it names itself, and what is in their attributes.

        Without what it could come to from there.
        """
        self.names |= ahead.names
        for value in values:
            for one in (value, *attributes(value).values()):
                self.objects[id(one)] = one

    def dropped(self, values: Iterable[object]) -> None:
        """Add values that it has and will do nothing with but let go of: their end may be told to somebody."""
        for value in values:
            for reference in weakref.getweakrefs(value):
                self.value(*_told_of_end(reference))
            finaliser = in_class(type(value), "__del__")
            if type(finaliser) is FunctionType:  # of the object itself nothing else will be called
                self.value(finaliser, *(one for one in get_referents(value) if one is not type(value)))

    def value(self, *values: object) -> None:
        """Add values that it has, callables among them being what it will call."""
        self._todo.extend(values)
        self._run()

    # the closure --------------------------------------------------------------------------------------------

    def _use(self, names: Iterable[str], dynamic: bool, namespace: dict[str, Any]) -> None:
        self._learn(names)
        for stream in streams(names):
            self._hear(stream)
        todo = self._todo
        if dynamic:
            self.dynamic = True
            todo.extend(list(namespace.values()))
            for values in self._waiting.values():
                todo.extend(values)
            self._waiting.clear()
            return
        package = namespace.get("__package__")
        for name in names:
            if name in namespace:
                todo.append(namespace[name])
                continue
            # What a function imports when it runs.
            module = sys.modules.get(name) or (package and sys.modules.get(f"{package}.{name}"))
            if module:
                todo.append(module)

    def _learn(self, names: Iterable[str]) -> None:
        fresh = set(names) - self.names
        self.names |= fresh
        for name in fresh:
            found = self._waiting.pop(name, None)
            if found is not None:
                self._todo.extend(found)

    def _run(self) -> None:
        todo, objects, budget = self._todo, self.objects, self._budget
        while todo:
            value = todo.pop()
            kind = type(value)
            if kind in _ATOMS or id(value) in objects:
                continue
            budget.left -= 1
            if not budget.left & 127:
                step()
            if budget.left < 0:
                todo.clear()
                return
            objects[id(value)] = value
            if kind in _PLAIN:
                todo.extend(get_referents(value))
            elif kind in FUTURES or kind in TASKS:  # a look at thousands comes to them again and again
                self._future(value)
            else:
                self._visit(value, kind)

    def _visit(self, value: Any, kind: type) -> None:  # noqa: C901 -- one branch for each kind of object
        todo = self._todo
        if kind is FunctionType:
            self._function(value)
        elif kind is MethodType:
            self._method(value)
        elif kind is BuiltinFunctionType or kind.__name__ == "method-wrapper":
            owner = field(value, "__self__")
            if _wakes(value.__name__, owner):
                return
            if owner is not None and type(owner) is not ModuleType:
                self.gives.add((id(owner), value.__name__))
                todo.append(owner)
        elif kind is ModuleType:
            self._module(value)
        elif issubclass(kind, type):
            self._class(value, made=True)
        elif kind in SUSPENDABLE:
            self._suspended(value)
        elif issubclass(kind, FUTURES):
            self._future(value)
        elif issubclass(kind, weakref.ref):
            todo.append(weakref.ref.__call__(value))
            todo.extend(_told_of_end(value))
            if kind is not weakref.ref:  # a method is kept as its object and its function
                todo.extend([referent for referent in get_referents(value) if type(referent) is weakref.ref])
        elif kind in (FrameType, TracebackType, MappingProxyType) or is_hub(kind):
            for handler in handlers_of(value):
                self._hear(handler)
        elif kind in _OPERATORS:  # what they call is known by a name that they have
            self._learn(_words(value))
            todo.extend(get_referents(value))
        elif kind is contextvars.Context:  # of all that it holds, what the code asks for
            self._contexts.append(value)
            todo.extend(value[variable] for variable in self._variables if variable in value)
        elif kind is contextvars.ContextVar:
            self._variables.append(value)
            todo.extend(get_referents(value))  # its default
            todo.extend(context[value] for context in self._contexts if value in context)
        elif module_of(kind).startswith(_SILENT):
            return
        elif is_pool_call(value):  # whoever has it runs it, and resolves its future
            self.promise((field(value, "future"),))
            todo.extend(get_referents(value))
        elif kind is functools.partial:
            todo.extend((value.func, *value.args, *value.keywords.values()))
            self._promised(value.func, value.args)
        else:
            referents = [referent for referent in get_referents(value) if referent is not kind]
            todo.extend(referents)
            for reference in weakref.getweakrefs(value):
                todo.extend(_told_of_end(reference))
            if self._transports and issubclass(kind, asyncio.BaseProtocol):
                self._protocol(value, kind)
            self._class(kind, made=False)

    def _hear(self, value: object) -> None:
        """Add what hears of what is logged or printed: of the standard library's, those that it tells in turn."""
        module = module_of(type(value))
        if id(value) in self._heard or module.startswith("spanloom."):
            return
        self._heard.add(id(value))
        path = namespace_of(sys.modules.get(module)).get("__file__")
        if module in sys.builtin_module_names or (type(path) is str and is_standard(path)):
            inner = list(attributes(value).values())
            self.promise(inner)
            for one in inner:
                if is_a(one, logging.Handler) or in_class(type(one), "write") is not None:
                    self._hear(one)
            self._todo.extend(inner)
            return
        self._learn(HEARING)
        self._todo.append(value)

    def _protocol(self, value: Any, kind: type) -> None:
        """Take it that a protocol which is like asyncio's own, whose code is not read, sets the events that it has."""
        path = namespace_of(sys.modules.get(kind.__module__)).get("__file__")
        if type(path) is str and is_standard(path):
            events = [one for one in attributes(value).values() if issubclass(type(one), asyncio.Event)]
            self.gives.update((id(event), "set") for event in events)

    def _function(self, function: Any) -> None:
        contents = []
        for cell in function.__closure__ or ():
            try:
                contents.append(cell.cell_contents)
            except ValueError:
                continue
        self._todo.extend(contents)
        self._todo.extend(attributes(function).values())
        self._todo.extend(function.__defaults__ or ())
        self._todo.extend((function.__kwdefaults__ or {}).values())
        if is_standard(function.__code__.co_filename):
            self._promised(function, contents)
            if function.__code__.co_filename == contextlib.__file__:  # a manager as a decorator enters it
                self._learn(MANAGERS)
            return
        module = function.__globals__.get("__name__")  # what a wrapper says of itself is what it wraps
        if isinstance(module, str) and module.startswith(_PASSED_BY):
            return
        self.code(function.__code__, function.__globals__)

    def _promised(self, function: Any, values: Iterable[object]) -> None:
        code = _code_behind(function.__func__ if type(function) is MethodType else function)
        if code is None or is_standard(code.co_filename):
            self.promise(values)

    def promise(self, values: Iterable[object]) -> None:
        """Take it that the standard library resolves the futures, and ends the waits, that it has among `values`."""
        for value in values:
            if is_future(value) or issubclass(type(value), concurrent.futures.Future):
                self.gives.add((id(value), "set_result"))
            elif issubclass(type(value), asyncio.Queue):
                self.gives.add((id(value), "put_nowait"))

    def callback(self, function: object, values: Iterable[object]) -> None:
        """Add a call that will be made, unless that is one of ours which only notes that something has ended."""
        inner: Any = function
        while type(inner) is functools.partial:
            inner = inner.func
        noted = inner.__func__ if type(inner) is MethodType else None
        if type(noted) is FunctionType and noted.__module__ in _NOTING:
            return
        found = tuple(values)
        self._promised(function, found)
        self.value(function, *found)

    def _method(self, method: MethodType) -> None:
        name = field(method.__func__, "__name__", "")
        if _wakes(name, method.__self__):
            return
        self._todo.append(method.__self__)
        self.gives.add((id(method.__self__), name))
        code = _code_behind(method.__func__)
        if code is not None and not is_standard(code.co_filename):
            self._todo.append(method.__func__)

    def code(self, code: CodeType, namespace: dict[str, Any]) -> None:
        """Add a function that may be called from its beginning."""
        if id(code) in self._codes:
            return
        self._codes.add(id(code))
        names, dynamic = self._bytecode.names(code)
        # Unless a class of the program has such a method, which may do anything.
        if RELEASE in names and RELEASE not in self._waiting and not dynamic and takes_first(code):
            self._kept_back = True
            names -= {RELEASE}
        self.calm |= names
        self._use(names, dynamic, namespace)

    def _module(self, module: ModuleType) -> None:
        for handler in handlers_of(module):
            self._hear(handler)
        namespace = namespace_of(module)
        path, name = namespace.get("__file__"), namespace.get("__name__")
        if type(path) is not str or is_standard(path) or (type(name) is str and name.startswith(_SILENT)):
            return
        self._entries(list(namespace.items()))

    def _class(self, cls: Any, *, made: bool) -> None:
        """Add the methods of a class: those with a special name, and those whose names the code uses.

        Args:
            cls: The class.
            made: Whether the class itself is reached, so that instances may be made of it, and not only an
                instance.
        """
        if (id(cls), made) in self._classes:
            return
        self._classes.add((id(cls), made))
        if made and type(cls) is not type:
            self._class(type(cls), made=False)
        for base in cls.__mro__:
            module = base.__module__
            if (
                module in sys.builtin_module_names
                or not isinstance(module, str)
                or module.startswith(_SILENT)
                or module in _PRIMITIVES
            ):
                continue
            path = namespace_of(sys.modules.get(module)).get("__file__")
            if type(path) is str and is_standard(path):
                continue
            self._entries(list(vars(base).items()), made=made)

    def _entries(self, entries: Iterable[tuple[str, Any]], *, made: bool = False) -> None:
        for name, value in entries:
            if type(value) in (staticmethod, classmethod):
                value = value.__func__
            elif type(value) is property:
                value = (value.fget, value.fset)
            if type(value) in _ATOMS:
                continue
            special = name[:2] == "__" == name[-2:] and type(value) is FunctionType and name not in MANAGERS
            if name in self.names or self.dynamic or (special and (made or name not in _CONSTRUCTORS)):
                self._todo.append(value)
                continue
            self._waiting.setdefault(name, []).append(value)
            if name == RELEASE and self._kept_back:
                self._learn((RELEASE,))

    def _suspended(self, value: Any) -> None:
        if id(value) in self._owned:  # of a task, which runs it and is asked by itself
            return
        link = link_of(value)
        if link is None:
            return
        ahead = self._bytecode.ahead(link.code, link.frame.f_lasti)
        if not is_standard(link.code.co_filename):
            self._use(ahead.names, ahead.dynamic, link.frame.f_globals)
            self.calm |= ahead.calm
        self._todo.extend(get_referents(value))

    def _future(self, value: Any) -> None:
        if is_task(value) and not future_done(value):
            return
        referents = get_referents(value)
        waiting = field(value, "_asyncio_awaited_by")  # from 3.14 on a future knows who waits for it, too
        if waiting:
            tasks = set(map(id, waiting))
            referents = [one for one in referents if id(one) not in tasks and not _are(tasks, one)]
        self._todo.extend(referents)


def _words(value: object) -> set[str]:
    """Return the names that a ``methodcaller`` or ``attrgetter`` looks up."""
    found: set[str] = set()
    todo = list(get_referents(value))
    while todo:
        one = todo.pop()
        if type(one) is str:
            found.update(one.split("."))
        elif type(one) is tuple:
            todo.extend(one)
    return found


def _told_of_end(reference: Any) -> tuple[object, ...]:
    """Return what is called when the object of a weak reference is gone, unless that only tidies a weak container."""
    callback = reference.__callback__
    if callback is None:
        return ()
    if type(callback) is weakref.finalize:
        registry: Any = weakref.finalize._registry  # type: ignore[attr-defined] # noqa: SLF001 -- peek() gives the object, too
        info = registry.get(callback)
        return () if info is None else (info.func, *(info.args or ()), *(info.kwargs or {}).values())
    if type(callback) is FunctionType and is_standard(callback.__code__.co_filename):
        return ()
    return (callback,)


def _are(tasks: set[int], value: object) -> bool:
    """Tell whether a value is the very set of these tasks."""
    return type(value) is set and tasks == set(map(id, value))


def _wakes(name: object, owner: object) -> bool:
    """Tell whether this is how a future wakes who waits for it: by that nobody has got hold of the task."""
    return name in _WAKING and is_task(owner)


_WAKING: Final = frozenset({"task_wakeup", "__wakeup"})
"""Of a task in C, and of one in Python."""
_CONSTRUCTORS: Final = frozenset(
    {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__"}
)


def _code_behind(function: object) -> CodeType | None:
    """Return the code of a function, one that was compiled by Cython included."""
    found = field(function, "__code__")
    return found if type(found) is CodeType else None
