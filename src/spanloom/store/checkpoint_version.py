"""The identity of the function that made a result: its name and its version.

What counts for the version:

* what the interpreter runs: bytecode, constants and names, of the function and of those written inside of it;
* the plain constants bound to it (defaults, variables of the enclosing function), because
  ``lambda text: ask(model, text)`` is the same code for every model;
* the arguments of a ``partial``, if they have a JSON form;
* the class of the object that a method is bound to.

What does not count: line numbers, comments, the file's path, the functions that it calls, the values of globals, and
the state of an object bound to it: with a counter in it, every run would begin anew. Only an immutable object counts
whole: a frozen dataclass, a frozen ``Struct``, a named tuple. For any other, a warning is logged when results are
used, as another object of the class may have made them.

A version that the user names replaces the code. Bound values still count then, or ``ask`` made for one model would get
the results of ``ask`` made for another; so does the code of a lambda, as all lambdas have the same name. A variable
that the function itself assigns to (``nonlocal``) is its state, and never counts.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from hashlib import blake2b
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_VARARGS, CO_VARKEYWORDS
from pathlib import Path
from types import BuiltinFunctionType, CodeType, CoroutineType, FunctionType, MethodDescriptorType, MethodType
from typing import Any, Final, cast

from spanloom.store.checkpoint_key import digest_of

__all__ = ["Versions"]

VERSION_BYTES: Final = 16
BOUND_BYTES: Final = 8
"""Bytes of the digest of bound values: there are only as many as somebody writes by hand."""
MAX_WRAPPED: Final = 100
"""Decorators looked through: a bound for a cycle of ``__wrapped__``."""

_KIND: Final = CO_VARARGS | CO_VARKEYWORDS | CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
"""Code flags that describe the function, not its file."""
_CONSTANTS: Final = (str, int, float, complex, bool, bytes, type(None), type(...))
_NAMED: Final = (FunctionType, BuiltinFunctionType, MethodDescriptorType, type)
"""Types whose objects are identified by their name alone, unless they are lambdas."""
_ASSIGNS: Final = frozenset({"STORE_DEREF", "DELETE_DEREF"})


class Versions:
    """The identities of the functions of one batch.

    Args:
        version: The user's name for the version of the function's code; ``None`` to take a digest of it.
    """

    def __init__(self, version: str | None) -> None:
        self._version = version
        self._known: dict[object, tuple[object, tuple[str, str]]] = {}

    @property
    def by_code(self) -> bool:
        """Whether the version is a digest of the code, not a name that the user gave."""
        return self._version is None

    def of_function(self, function: object) -> tuple[str, str]:
        """Return the qualified name, with its module, and the version of a function that is called with many items.

        Raises:
            TypeError: it has no Python code.
        """
        return self._identity(function, bound=True)

    def of_job(self, job: Any) -> tuple[str, str]:
        """Return the same for the function of a job, whatever it is bound to or called with.

        Raises:
            TypeError: it has no Python code.
        """
        while isinstance(job, functools.partial):
            job = job.func
        name = getattr(job, "__qualname__", None)
        code = job.cr_code if type(job) is CoroutineType else getattr(job, "__code__", None)
        # Functions made for each job share their code, so remember by code; a wrapper shares it with other wrappers.
        seen: object = job if code is None or hasattr(job, "__wrapped__") else code
        known = self._known.get((id(seen), name))
        if known is None:
            known = seen, self._identity(job, bound=False)
            self._known[id(seen), name] = known
        return known[1]

    def unseen(self, function: Any) -> str | None:
        """Return the class of an object bound to `function` whose state does not count; ``None`` if there is none.

        Always ``None`` with a version that the user has named: that is meant to tell such objects apart.
        """
        if self._version is not None:
            return None
        while isinstance(function, functools.partial):
            for given in (*function.args, *function.keywords.values()):
                if _is_unseen(given, is_given=True):
                    return type(given).__qualname__
            function = function.func
        owner = _owner_of(function)
        if owner is None or not _is_unseen(owner, is_given=_is_frozen(owner)):
            return None
        return type(owner).__qualname__

    def _identity(self, function: Any, *, bound: bool) -> tuple[str, str]:
        parts: list[str] = []
        if self._version is None:
            _describe(function, parts, bound, 0)
            return _full_name(function), _digest(parts, VERSION_BYTES)
        _describe_bound(function, parts, bound)
        named = self._version if not parts else f"{self._version} {_digest(parts, BOUND_BYTES)}"
        return _full_name(function), named


def _digest(parts: list[str], size: int) -> str:
    return blake2b("\n".join(parts).encode("utf-8", "backslashreplace"), digest_size=size).hexdigest()


def _full_name(function: Any) -> str:
    """Return the module and qualified name: in a large program, many functions are called ``fetch``."""
    while isinstance(function, functools.partial):
        function = function.func
    if type(function) is CoroutineType:
        frame = function.cr_frame
        module = None if frame is None else frame.f_globals.get("__name__")
    else:
        module = getattr(function, "__module__", None) or type(function).__module__
    return f"{_module_name(module)}.{_name_of(function)}" if module else _name_of(function)


def _module_name(module: str) -> str:
    """Return a module's name as for an import, also for a script, so that two scripts share no results."""
    if module not in ("__main__", "__mp_main__"):
        return module
    main = sys.modules.get(module)
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else module


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def _within_partials(function: Any, parts: list[str], bound: bool) -> Any:
    """Return the function inside partials; if `bound`, append to `parts` the arguments that they bind."""
    while isinstance(function, functools.partial):
        if bound:
            parts.append(_partial(function))
        function = function.func
    return function


def _describe_bound(function: Any, parts: list[str], bound: bool) -> None:
    """Append to `parts`, for a named version, what tells functions of one name apart: bound values, a lambda's code."""
    function = _within_partials(function, parts, bound)
    _add_owner(function, parts, bound)
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return
    if code.co_name == "<lambda>":
        _add_code(code, parts)
    if bound:
        cells = _closure(function, code)
        parts.extend(f"{name} {_plain(value)}" for name, value in cells if _is_constant(value))
        defaults = (*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items()))
        if (
            "<" in code.co_qualname and defaults
        ):  # made by another function, perhaps once for each value of one
            parts.append(_plain(defaults))


def _describe(function: Any, parts: list[str], bound: bool, depth: int) -> None:
    """Append to `parts` the code of `function`, and what is bound to it if `bound`."""
    function = _within_partials(function, parts, bound)
    if type(function) is CoroutineType:
        _add_code(function.cr_code, parts)
        return
    _add_owner(function, parts, bound)
    if isinstance(function, MethodType):
        function = function.__func__
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None and depth < MAX_WRAPPED:
        _describe(wrapped, parts, bound, depth + 1)
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType):
        _add_code(code, parts)
        if bound:
            parts.append(_plain((function.__defaults__, *sorted((function.__kwdefaults__ or {}).items()))))
            parts.append(_plain(tuple(value for _, value in _closure(function, code))))
        return
    code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004 -- its code is wanted
    if not isinstance(code, CodeType):
        raise TypeError(
            f"the version of {_name_of(function)} cannot be told from its code, which is not Python's; "
            f"give Checkpoint(..., version=)"
        )
    _add_code(code, parts)


def _add_owner(function: Any, parts: list[str], bound: bool) -> None:
    """Append to `parts` the object that a method is bound to, or a callable object, as far as it counts."""
    owner = _owner_of(function) if bound else None
    if owner is None:
        return
    kind = owner if isinstance(owner, type) else type(owner)
    name = f"{_module_name(kind.__module__)}.{kind.__qualname__}"
    if _full_name(function).rpartition(".")[0] != name != _full_name(function):
        parts.append(f"of {name}")  # inherited: the method has the name of the class that defines it
    is_given = _is_frozen(owner)
    if owner is not kind and not _is_unseen(owner, is_given=is_given):
        parts.append(_plain(owner, is_given=is_given))


def _owner_of(function: Any) -> object:
    """Return the object or class that a method is bound to, or a callable object itself; else ``None``."""
    if isinstance(function, MethodType):
        return function.__self__
    if isinstance(function, _NAMED) or type(function) is CoroutineType or hasattr(function, "__wrapped__"):
        return None
    return cast("object", function)


def _is_frozen(value: object) -> bool:
    """Return whether a value is a frozen dataclass or ``Struct``, so that none of it is the state of a run."""
    kind: Any = type(value)
    config = getattr(kind, "__dataclass_params__", None) or getattr(kind, "__struct_config__", None)
    return bool(getattr(config, "frozen", False))


def _is_unseen(value: object, *, is_given: bool) -> bool:
    """Return whether only the class of a value counts; see `_plain` for `is_given`."""
    if isinstance(value, (tuple, frozenset)):
        return any(_is_unseen(each, is_given=is_given) for each in value)
    kind = type(value)
    if (
        isinstance(value, type) or kind is object
    ):  # a class counts by its name, and a bare object has no state
        return False
    return _plain(value, is_given=is_given) == f"<{kind.__qualname__}>"


def _partial(function: functools.partial[Any]) -> str:
    return f"partial {_plain((*function.args, *sorted(function.keywords.items())), is_given=True)}"


def _closure(function: Any, code: CodeType) -> Iterator[tuple[str, object]]:
    """Yield name and value of each variable of the enclosing function that `function` only reads."""
    assigned = _assigned(code)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if name in assigned:
            continue
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet
            yield name, ...


def _assigned(code: CodeType) -> set[str]:
    """Return the variables of enclosing functions that a function, or one inside of it, assigns to."""
    names = {str(step.argval) for step in dis.get_instructions(code) if step.opname in _ASSIGNS}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _assigned(constant)
    return names & set(code.co_freevars)


def _is_constant(value: object) -> bool:
    return type(value) in _CONSTANTS or isinstance(value, Enum)


def _add_code(code: CodeType, parts: list[str]) -> None:
    parts.append(f"{code.co_qualname} {code.co_argcount} {code.co_kwonlyargcount} {code.co_flags & _KIND}")
    parts.append(code.co_code.hex())  # as compiled: without specialized instructions or a tool's marks
    parts.append(code.co_exceptiontable.hex())
    parts.append(_plain((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(constant, parts)
        else:
            parts.append(_plain(constant))


def _plain(value: object, *, is_given: bool = False) -> str:
    """Return a text that is the same for the same constant in every process; the type's name for anything else.

    Args:
        value: The bound value.
        is_given: Whether it was bound on purpose: then lists, dicts and all else with a JSON form count, too. In
            variables, such values may change while the batch runs.
    """
    plain = functools.partial(_plain, is_given=is_given)
    if isinstance(value, tuple):
        return f"({', '.join(map(plain, value))})"
    if isinstance(value, frozenset):  # its order differs between processes
        return f"{{{', '.join(sorted(map(plain, value)))}}}"
    if type(value) in _CONSTANTS:
        return repr(value)
    name = type(value).__qualname__
    if isinstance(value, Enum):
        return f"<{name}.{value.name}>"
    if is_given and isinstance(value, _NAMED):
        parts: list[str] = []
        if value.__name__ == "<lambda>":
            _describe(value, parts, bound=True, depth=0)
        return f"<{_full_name(value)} {_digest(parts, BOUND_BYTES)}>"
    if is_given:
        with suppress(TypeError):
            return f"<{name} {digest_of(value).hex()}>"
    return f"<{name}>"
