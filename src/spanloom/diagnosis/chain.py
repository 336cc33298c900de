"""The await chain of a task: its suspended frames from the outside in, down to the future that it waits for."""

from __future__ import annotations

from collections.abc import Callable
from gc import get_referents
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final, NamedTuple

from spanloom.diagnosis.fields import is_future

__all__ = ["SUSPENDABLE", "Link", "chain_of", "frame_of", "is_suspendable"]

SUSPENDABLE: Final[tuple[type, ...]] = (CoroutineType, GeneratorType, AsyncGeneratorType)
_LONGEST: Final = 1_000
"""Links after which the walk ends: recursion of coroutines is bounded like that of functions."""

_READERS: Final[dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any]]]] = {
    CoroutineType: (lambda o: o.cr_code, lambda o: o.cr_frame, lambda o: o.cr_await),
    GeneratorType: (lambda o: o.gi_code, lambda o: o.gi_frame, lambda o: o.gi_yieldfrom),
    AsyncGeneratorType: (lambda o: o.ag_code, lambda o: o.ag_frame, lambda o: o.ag_await),
}


class Link(NamedTuple):
    """One suspended frame. Its `owner` is the coroutine or generator, which refers to all that the frame does."""

    owner: Any
    code: CodeType
    frame: FrameType


def is_suspendable(value: object) -> bool:
    """Return whether `value` is a coroutine, a generator or an asynchronous generator."""
    return type(value) in _READERS


def frame_of(value: Any) -> Link | None:
    """Return the link of a coroutine or generator that has not ended; ``None`` for anything else."""
    readers = _READERS.get(type(value))
    if readers is None:
        return None
    code, frame, _ = readers
    found = frame(value)
    return None if found is None else Link(value, code(value), found)


def chain_of(outermost: object) -> tuple[list[Link], object]:
    """Follow a coroutine's awaits to the end.

    Returns:
        The links, and what the last one awaits: a future, or what else it is; ``None`` if it is not suspended
        in an await.
    """
    links: list[Link] = []
    current: Any = outermost
    for _ in range(_LONGEST):
        if current is None or is_future(current):
            break
        readers = _READERS.get(type(current))
        if readers is None:
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


def _look_through(iterator: Any) -> Any:
    """Return what an iterator without a frame of its own (`FutureIter`, `anext()`, `coroutine_wrapper`) stands for."""
    inner = getattr(type(iterator), "cr_await", None)  # a coroutine that was compiled by Cython
    if inner is not None and hasattr(inner, "__get__"):
        try:
            return inner.__get__(iterator)
        except Exception:  # noqa: BLE001 -- compiled code of somebody else
            return None
    found = None
    for referent in get_referents(iterator):
        if is_future(referent):
            return referent
        if found is None and (is_suspendable(referent) or _is_iterator(referent)):
            found = referent
    return found


def _is_iterator(value: object) -> bool:
    return type(value).__module__ == "builtins" and type(value).__name__ in {
        "async_generator_asend",
        "async_generator_athrow",
        "anext_awaitable",
        "coroutine_wrapper",
    }
