"""The await chain of a task: its suspended frames from the outside in, down to the future that it waits for."""

from __future__ import annotations

from collections.abc import Callable
from gc import get_referents
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType, GetSetDescriptorType
from typing import Any, Final, NamedTuple

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.fields import field, is_future, module_of

__all__ = [
    "SUSPENDABLE",
    "Link",
    "called_by_author",
    "chain_of",
    "code_of",
    "is_suspendable",
    "line_of",
    "link_of",
    "links_of",
]

SUSPENDABLE: Final[tuple[type, ...]] = (CoroutineType, GeneratorType, AsyncGeneratorType)
_LONGEST: Final = 1_000
"""Links after which the walk ends: the default recursion limit bounds a chain of coroutines, too."""

_ITERATORS: Final = frozenset(
    {"async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"}
)
_READERS: Final[dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any]]]] = {
    CoroutineType: (lambda o: o.cr_code, lambda o: o.cr_frame, lambda o: o.cr_await),
    GeneratorType: (lambda o: o.gi_code, lambda o: o.gi_frame, lambda o: o.gi_yieldfrom),
    AsyncGeneratorType: (lambda o: o.ag_code, lambda o: o.ag_frame, lambda o: o.ag_await),
}


class Link(NamedTuple):
    """One frame of an await chain.

    Attributes:
        owner: The suspended coroutine or generator, whose referents are those of the frame; for a frame that runs, the
            frame itself.
        code: Its code.
        frame: The frame.
    """

    owner: Any
    code: CodeType
    frame: FrameType

    @property
    def function(self) -> str:
        """Qualified name of the function; see `called_by_author`."""
        return called_by_author(self.owner)


def called_by_author(owner: Any) -> str:
    """Return the qualified name of a coroutine, generator or frame, without the functions that it is defined in.

    Of a coroutine or generator it is ``__qualname__``, which for a wrapper made with `functools.wraps` is that of the
    wrapped function; ``co_qualname`` would be the wrapper's.
    """
    name: str = owner.f_code.co_qualname if type(owner) is FrameType else owner.__qualname__
    return bare_name(name)


def line_of(frame: FrameType) -> int:
    """Return the line that a frame is at; if its instruction has none, that of the last one before it that has.

    The jump back at the end of a loop may have none, and a loop that computes is mostly seen there: Python lets other
    threads run at backward jumps.
    """
    line: int | None = frame.f_lineno
    if line is None:
        code, at = frame.f_code, frame.f_lasti
        line = next(
            (line for start, _, line in reversed(list(code.co_lines())) if start <= at and line is not None),
            code.co_firstlineno,
        )
    return line


def is_suspendable(value: object) -> bool:
    """Return whether `value` is a coroutine, a generator or an asynchronous generator."""
    return type(value) in _READERS


def code_of(value: object) -> CodeType | None:
    """Return the code of a coroutine or generator, ended or not, or of a frame; ``None`` for anything else."""
    if type(value) is FrameType:
        return value.f_code
    readers = _READERS.get(type(value))
    # A coroutine compiled by Cython has another type, and `cr_code`.
    found: object = field(value, "cr_code") if readers is None else readers[0](value)
    return found if type(found) is CodeType else None


def link_of(value: object) -> Link | None:
    """Return the link of a coroutine or generator that has not ended, or of a frame; ``None`` for anything else."""
    if type(value) is FrameType:
        return Link(value, value.f_code, value)
    readers = _READERS.get(type(value))
    if readers is None:
        return None
    code, frame, _ = readers
    found = frame(value)
    return None if found is None else Link(value, code(value), found)


def chain_of(outermost: object) -> tuple[list[Link], object]:
    """Follow a coroutine's awaits to the end.

    Returns:
        The links, outermost first, and what the last one awaits: usually a future; ``None`` if it is not suspended in
        an await.
    """
    links: list[Link] = []
    current: Any = outermost
    for _ in range(_LONGEST):
        readers = _READERS.get(type(current))
        if readers is None:
            if current is None or is_future(current):
                break
            inner = _look_through(current)
            if inner is None:
                break
            current = inner
            continue
        code, frame_reader, awaited = readers
        frame = frame_reader(current)
        if frame is None:
            return links, None
        links.append(Link(current, code(current), frame))
        current = awaited(current)
    return links, current


def links_of(task: object) -> list[Link]:
    """Return the frames of a task's await chain, outermost first; of a task that runs, only the outermost."""
    return chain_of(field(task, "_coro"))[0]


def _look_through(iterator: Any) -> Any:
    """Return what an iterator without a frame of its own (`FutureIter`, `anext()`, `coroutine_wrapper`) stands for."""
    for kind in type(iterator).__mro__:
        inner = kind.__dict__.get("cr_await")
        if type(inner) is GetSetDescriptorType:  # a coroutine compiled by Cython
            return inner.__get__(iterator)
    found = None
    for referent in get_referents(iterator):
        if is_future(referent):
            return referent
        if found is None and (is_suspendable(referent) or _is_iterator(referent)):
            found = referent
    return found


def _is_iterator(value: object) -> bool:
    kind = type(value)
    return kind.__name__ in _ITERATORS and module_of(kind) == "builtins"
