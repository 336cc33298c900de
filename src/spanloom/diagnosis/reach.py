"""What a task or actor may still do: the objects that it can reach, and the method names that its code uses.

Who can end a wait is decided as a tracing garbage collector decides what is alive: start from what still runs, follow
all references. That alone says too much, as each function leads to its module, and so to the whole program. So code
and data are followed together, as in rapid type analysis (Bacon and Sweeney 1996):

- of a module or class, only entries are followed whose names are used by code that has been reached;
- of a suspended frame, only the code ahead of it and the variables that this may load (`spanloom.diagnosis.ahead`);
- weak references count as references;
- where code looks names up at run time (``getattr``, ``eval``), every name counts.

The result errs on one side: it may take somebody for a giver who is none, and so miss a deadlock, but not the reverse.

Long because most of it is one visitor, with a method for each kind of object.
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
"""Modules that listen: they refer to the program's tasks and futures, and never end a wait."""
_PASSED_BY: Final = ("spanloom.diagnosis", "spanloom.instrument")
"""Modules of wrappers, as of ``create_task``: of their functions, only the closure counts, not the code."""
_PRIMITIVES: Final = frozenset({"spanloom.concurrency.slots", "spanloom.concurrency.limits"})
"""Our own primitives. As with asyncio's, the name of a method says what it does; its code is not read."""
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
    """The closure of one actor, or of tasks that are asked together.

    Args:
        bytecode: Analyses of code, shared by the look.
        budget: How many objects may be visited. When it is spent, the closure is incomplete.
        owned: Identities of the coroutines and generators that tasks run: not entered, as tasks are asked themselves.
        contexts: Contexts in which its code runs: for `ContextVar.get`.

    Attributes:
        objects: All that can be reached, by identity; kept alive, so that no identity is used twice.
        names: The names that its code may use.
        calm: Those of them that it reaches without an exception being raised.
        gives: ``(identity, method)`` of bound methods that it has as values, as in ``call_later(1, event.set)``.
        dynamic: Whether it looks names up at run time, and so may use any.
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
        """Return whether it can end a wait for `resource`: reaches it and uses a name of `givers`, or has the method.

        Args:
            resource: What is waited for.
            givers: Names of the methods that end the wait; ``None``: to reach the resource is enough.
        """
        key = id(resource)
        if givers is None:
            return key in self.objects
        if key in self.objects and (self.dynamic or not givers.isdisjoint(self.names)):
            return True
        return any((key, name) in self.gives for name in givers)

    def transport(self) -> None:
        """Add the methods of protocols that transports call."""
        self._learn(_PROTOCOL)
        self._transports = True

    # the roots --------------------------------------------------------------------------------------------

    def frame(self, ahead: Ahead, namespace: dict[str, Any], values: Iterable[object]) -> None:
        """Add a frame: the code ahead of it, its globals, and the values that it can still use."""
        if (id(ahead), id(namespace)) not in self._aheads:  # thousands of tasks often share it
            self._aheads[id(ahead), id(namespace)] = ahead
            self._use(ahead.names, ahead.dynamic, namespace)
            self.calm |= ahead.calm
        self._todo.extend(values)
        self._run()

    def handed(self, ahead: Ahead, values: Iterable[object]) -> None:
        """Add values, their attributes and the names that `ahead` uses, and follow none of them any further."""
        self.names |= ahead.names
        for value in values:
            for one in (value, *attributes(value).values()):
                self.objects[id(one)] = one

    def dropped(self, values: Iterable[object]) -> None:
        """Add values that it only lets go of: weak-reference callbacks and ``__del__`` run when they are freed."""
        for value in values:
            for reference in weakref.getweakrefs(value):
                self.value(*_told_of_end(reference))
            finaliser = in_class(type(value), "__del__")
            if type(finaliser) is FunctionType:  # of the object itself nothing else will be called
                self.value(finaliser, *(one for one in get_referents(value) if one is not type(value)))

    def value(self, *values: object) -> None:
        """Add values that it has; callables among them count as called."""
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
            # No global: it may be a module that the function imports when it runs.
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
            elif kind in FUTURES or kind in TASKS:  # the most frequent kinds: a short cut past `_visit`
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
            if kind is not weakref.ref:  # a `WeakMethod` has references to the object and the function
                todo.extend([referent for referent in get_referents(value) if type(referent) is weakref.ref])
        elif kind in (FrameType, TracebackType, MappingProxyType) or is_hub(kind):
            for handler in handlers_of(value):
                self._hear(handler)
        elif kind in _OPERATORS:  # they carry the names that they look up
            self._learn(_words(value))
            todo.extend(get_referents(value))
        elif kind is contextvars.Context:  # only the variables that the code reaches, see the next branch
            self._contexts.append(value)
            todo.extend(value[variable] for variable in self._variables if variable in value)
        elif kind is contextvars.ContextVar:
            self._variables.append(value)
            todo.extend(get_referents(value))  # its default
            todo.extend(context[value] for context in self._contexts if value in context)
        elif module_of(kind).startswith(_SILENT):
            return
        elif is_pool_call(value):  # whoever reaches it may run it, and so resolve its future
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
        """Add a handler of log records, or a stream that is printed to.

        One of the standard library's is not read: the futures and queues among its attributes are taken to be fed, and
        handlers and streams among them hear in turn.
        """
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
        """Assume that a protocol of the standard library, whose code is not read, sets the events in its attributes."""
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
            if function.__code__.co_filename == contextlib.__file__:  # a manager used as a decorator
                self._learn(MANAGERS)
            return
        module = function.__globals__.get("__name__")  # not `__module__`, which `wraps` copies
        if isinstance(module, str) and module.startswith(_PASSED_BY):
            return
        self.code(function.__code__, function.__globals__)

    def _promised(self, function: Any, values: Iterable[object]) -> None:
        code = _code_behind(function.__func__ if type(function) is MethodType else function)
        if code is None or is_standard(code.co_filename):
            self.promise(values)

    def promise(self, values: Iterable[object]) -> None:
        """Assume that the standard library resolves the futures, and puts into the queues, among `values`."""
        for value in values:
            if is_future(value) or issubclass(type(value), concurrent.futures.Future):
                self.gives.add((id(value), "set_result"))
            elif issubclass(type(value), asyncio.Queue):
                self.gives.add((id(value), "put_nowait"))

    def callback(self, function: object, values: Iterable[object]) -> None:
        """Add a call that will be made, unless it is a callback of ours that only notes the end of a task."""
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
        """Add the code of a function that may be called: all of its names, as none of it has run yet."""
        if id(code) in self._codes:
            return
        self._codes.add(id(code))
        names, dynamic = self._bytecode.names(code)
        # ``release`` is left out if the function only releases what it has acquired itself. Not if an entry named
        # ``release`` waits to be followed: that may be a method of the program's, which may do anything.
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
        """Add the methods of a class: special methods, and those whose names the code uses.

        Args:
            cls: The class.
            made: Whether the class itself is reached, so that instances may be made; adds the constructors.
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
        if id(value) in self._owned:  # a task runs it, and is asked itself
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
        waiting = field(value, "_asyncio_awaited_by")  # from 3.14 on: its waiters, which it does not use
        if waiting:
            tasks = set(map(id, waiting))
            referents = [one for one in referents if id(one) not in tasks and not _are(tasks, one)]
        self._todo.extend(referents)


def _words(value: object) -> set[str]:
    """Return all strings in a ``methodcaller`` or ``attrgetter``, split at dots: at least the names it looks up."""
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
    """Return what is called when the object of a weak reference is freed; nothing of the standard library's own."""
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
    """Tell whether `value` is a set with exactly these tasks, by their identities."""
    return type(value) is set and tasks == set(map(id, value))


def _wakes(name: object, owner: object) -> bool:
    """Tell whether this is the bound method by which a future wakes its waiter: to have it is not to have the task."""
    return name in _WAKING and is_task(owner)


_WAKING: Final = frozenset({"task_wakeup", "__wakeup"})
"""Names of that method: of a task in C, and of one in Python."""
_CONSTRUCTORS: Final = frozenset(
    {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__"}
)


def _code_behind(function: object) -> CodeType | None:
    """Return the code of a function, also of one compiled by Cython; ``None`` if it has none."""
    found = field(function, "__code__")
    return found if type(found) is CodeType else None
