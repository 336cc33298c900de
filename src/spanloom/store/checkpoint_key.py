"""What a result is filed under: the item's key, and the version of the function that made it.

The version is made of what the interpreter runs: bytecode, constants and names, of the function and of the functions
written inside of it; together with the plain constants that are bound to it (defaults, variables of the function
around it, arguments of a ``partial``), because ``lambda text: ask(model, text)`` is the same code for every model. It
does not change with line numbers, comments or the file's path, and it does not see what the function calls, what a
global variable holds, nor the state of the object that a method is bound to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_VARARGS, CO_VARKEYWORDS
from types import CodeType, CoroutineType, MethodType
from typing import Any, Final

import msgspec

__all__ = ["Keys", "Versions", "digest_of"]

KEY_BYTES: Final = 16
"""Bytes of a digest: among 10**12 keys, two collide with a probability of 10**-15."""
MAX_KEY_TEXT: Final = 200
"""Characters of a key that are kept for people to read."""
MAX_WRAPPED: Final = 100
"""Decorators looked through; a circle of them ends there."""

_encoder = msgspec.json.Encoder(order="deterministic")
_KIND: Final = CO_VARARGS | CO_VARKEYWORDS | CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
"""What flags say of a function, and not of its file."""
_CONSTANTS: Final = (str, int, float, complex, bool, bytes, type(None), type(...))


def digest_of(value: object) -> bytes:
    """Return the digest of a key, which depends on its value as JSON and on nothing else.

    Raises:
        TypeError: it has none.
    """
    try:
        data = _encoder.encode(value)
    except Exception as error:  # noqa: BLE001 -- msgspec's own, and those of attributes that it looks at
        raise TypeError(f"{type(value).__name__} has no JSON form: {error}") from None
    return blake2b(data, digest_size=KEY_BYTES).digest()


class Keys:
    """The keys of one batch's items, in order.

    Args:
        key: A function of an item, an iterable of keys in the order of the items, or ``None``.
        total: How many items there are; ``None`` if nobody knows.

    Raises:
        ValueError: there are more or fewer keys than items.
    """

    def __init__(self, key: Callable[[Any], object] | Iterable[object] | None, total: int | None) -> None:
        self._function = key if callable(key) else None
        self._given: Iterator[object] | None = None
        if key is not None and self._function is None:
            given: Any = key
            count = len(given) if hasattr(given, "__len__") else total
            if total is not None and count != total:
                raise ValueError(
                    f"the checkpoint has {count} keys for {total} items; give one key for each item"
                )
            self._given = iter(given)
        # By the first byte, since one table of a million holds the loop for 0.1 s when it has to grow; and dicts, since
        # the garbage collector does not look into those that hold no containers, but into every set.
        self._seen: tuple[dict[bytes, None], ...] = tuple({} for _ in range(256))
        self._count = 0

    def next(self, item: object) -> tuple[bytes, str | None]:
        """Return the digest and the readable text of the key of the next item.

        Raises:
            ValueError: an earlier item has the same key, or the keys have run out.
            TypeError: the key has no JSON form, or the item none and there is no other key.
        """
        index = self._count
        self._count += 1
        if self._function is not None:
            value = self._function(item)
        elif self._given is not None:
            value = next(self._given, self)
            if value is self:
                raise ValueError(f"the checkpoint's keys ran out at item {index}; give one key for each item")
        else:
            value = _default(item)
        try:
            digest = digest_of(value)
        except TypeError as error:
            raise TypeError(self._refusal(index, error)) from None
        seen = self._seen[digest[0]]
        if digest in seen:
            raise ValueError(
                f"item {index} has the key of an earlier item: {value!r:.200}; each item needs a key of its own, "
                f"or what one has returned would be taken for the result of the other"
            )
        seen[digest] = None
        named = self._function is not None or self._given is not None
        text = (
            value if isinstance(value, str) else repr(value) if named and type(value) in _CONSTANTS else None
        )
        return digest, text[:MAX_KEY_TEXT] if named and text is not None else None

    def _refusal(self, index: int, error: TypeError) -> str:
        if self._function is None and self._given is None:
            return (
                f"item {index} cannot be told from others after a restart: {error}; give Checkpoint(..., key=) a "
                f"function of the item that returns a string, or one key for each item, as in key=urls"
            )
        return f"the key of item {index} must be a string or another value that JSON knows: {error}"


def _default(item: Any) -> object:
    """Return what tells an item from others: its own value, or for a function what it will be called with."""
    if isinstance(item, functools.partial):
        inner = _default(item.func) if isinstance(item.func, functools.partial) else None
        return [inner, item.args, item.keywords] if inner is not None else [item.args, item.keywords]
    return item


class Versions:
    """The identities of the functions of one batch.

    Args:
        version: What the user calls the version of the function; ``None`` to take a digest of its code.
    """

    def __init__(self, version: str | None) -> None:
        self._version = version
        self._known: dict[object, tuple[object, tuple[str, str]]] = {}

    def of_function(self, function: object) -> tuple[str, str]:
        """Return the qualified name and the version of a function that many items are given to.

        Raises:
            TypeError: it has no code that could be looked at.
        """
        return self._identity(function, bound=True)

    def of_job(self, job: Any) -> tuple[str, str]:
        """Return the same for a job: of its own function, whatever that was bound to or called with.

        Raises:
            TypeError: it has no code that could be looked at.
        """
        while isinstance(job, functools.partial):
            job = job.func
        name = getattr(job, "__qualname__", None)
        code = job.cr_code if type(job) is CoroutineType else getattr(job, "__code__", None)
        # Functions that are made for each job have their code in common; one that wraps another has not.
        seen: object = job if code is None or hasattr(job, "__wrapped__") else code
        known = self._known.get((id(seen), name))
        if known is None:
            known = seen, self._identity(job, bound=False)
            self._known[id(seen), name] = known
        return known[1]

    def _identity(self, function: Any, *, bound: bool) -> tuple[str, str]:
        if self._version is not None:
            return _name_of(function), self._version
        parts: list[str] = []
        name, module = _describe(function, parts, bound, 0)
        text = "\n".join([module, *parts])
        return name, blake2b(text.encode("utf-8", "backslashreplace"), digest_size=KEY_BYTES).hexdigest()


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def _describe(function: Any, parts: list[str], bound: bool, depth: int) -> tuple[str, str]:
    """Append to `parts` what makes `function` what it is; return its name and its module's."""
    while isinstance(function, functools.partial):
        if bound:
            parts.append(f"partial {_plain((*function.args, *sorted(function.keywords.items())))}")
        function = function.func
    name = _name_of(function)
    if type(function) is CoroutineType:
        _add_code(function.cr_code, parts)
        frame = function.cr_frame
        return name, "" if frame is None else str(frame.f_globals.get("__name__"))
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
            parts.append(_plain(tuple(_content(cell) for cell in function.__closure__ or ())))
        return name, function.__module__ or ""
    code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004 -- its code is wanted
    if not isinstance(code, CodeType):
        raise TypeError(
            f"the version of {name} cannot be told from its code, which is not Python's; give Checkpoint(..., version=)"
        )
    _add_code(code, parts)
    return name, type(function).__module__


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return ...


def _add_code(code: CodeType, parts: list[str]) -> None:
    parts.append(f"{code.co_qualname} {code.co_argcount} {code.co_kwonlyargcount} {code.co_flags & _KIND}")
    parts.append(
        code.co_code.hex()
    )  # as compiled: without what the interpreter has specialized or a tool has marked
    parts.append(code.co_exceptiontable.hex())
    parts.append(_plain((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(constant, parts)
        else:
            parts.append(_plain(constant))


def _plain(value: object) -> str:
    """Return the same text for the same constant in every process, and the type's name for what is no constant."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    if isinstance(value, frozenset):  # whose order changes from process to process
        return f"{{{', '.join(sorted(map(_plain, value)))}}}"
    return repr(value) if type(value) in _CONSTANTS else f"<{type(value).__qualname__}>"
