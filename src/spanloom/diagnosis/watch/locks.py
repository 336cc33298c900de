"""THREAD_LOCK_ACROSS_AWAIT: a suspended task holds a thread lock, and the loop's thread waits for that lock."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import dis
import gc
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from types import AsyncGeneratorType, CodeType, GeneratorType
from typing import Any, Final, NamedTuple

from spanloom.concurrency.entered import exits_in
from spanloom.diagnosis.chain import Link, link_of
from spanloom.diagnosis.fields import attributes, field, future_done, is_a, task_name
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.watch.blocked import described, evidence_of, jobs_of, tasks_of
from spanloom.diagnosis.watch.expressions import acquired
from spanloom.diagnosis.watch.frames import location, place_in, where
from spanloom.diagnosis.watch.pulse import Hold, function_of
from spanloom.diagnosis.watch.reach import await_chain
from spanloom.diagnosis.watch.threads import ThreadNow, Threads

__all__ = ["lock_across_await"]

LOCKS: Final[tuple[type, ...]] = (_thread.LockType, _thread.RLock)
_STACKS: Final = (contextlib.ExitStack, contextlib.AsyncExitStack)
_SHARED: Final = (threading.Condition, threading.Semaphore)
_GENERATORS: Final = (GeneratorType, AsyncGeneratorType)
DEPTH: Final = 5


class _Holder(NamedTuple):
    task: asyncio.Task[Any]
    lock: object
    is_sure: bool


def lock_across_await(seen: Threads, thread: ThreadNow, hold: Hold, since_s: float) -> Finding | None:
    """Return the finding on a loop whose `thread` waits for a lock that a suspended task holds, or ``None``."""
    wanted = _wanted(thread)
    if wanted is None:
        return None
    text, lock = wanted
    current = None if thread.loop is None else thread.loop.task
    holders = [
        holder
        for other in seen.threads.values()
        if other.loop is not None
        for task in tasks_of(other.loop.loop)
        if task is not current
        for holder in _holders(task)
    ]
    if lock is not None:
        holders = [holder for holder in holders if holder.lock is lock]
    holders.sort(key=lambda holder: not holder.is_sure)
    if not holders or (lock is None and len({id(holder.lock) for holder in holders}) > 1):
        return None
    return _finding(thread, hold, since_s, text, holders[0], is_known=lock is not None)


def _wanted(thread: ThreadNow) -> tuple[str, object] | None:
    """Return the lock that a thread waits for, as ``(name, object)``; the object is ``None`` if it is unknown."""
    wait = thread.wait
    if wait is not None:
        if is_a(wait.what, _SHARED):
            return type(wait.what).__name__, wait.what
        return None
    frames = sys._current_frames()  # noqa: SLF001 -- there is no other way
    frame = frames.get(thread.ident)
    try:
        return None if frame is None or frame.f_code is not thread.stack[0].code else acquired(frame)
    finally:
        del frame
        frames.clear()


def _holders(task: asyncio.Task[Any]) -> Iterator[_Holder]:
    if future_done(task) or field(task, "_fut_waiter") is None:
        return
    chain = await_chain(task)
    for part in chain:
        for lock, is_sure in _entered(part, DEPTH, set()):
            yield _Holder(task, lock, is_sure)
    for part in chain:
        for lock in _by_hand(part):
            yield _Holder(task, lock, False)


def _entered(part: object, depth: int, seen: set[int]) -> Iterator[tuple[object, bool]]:
    """Yield ``(lock, is sure)`` for the locks that a suspended frame has entered by ``with``.

    Managers and generators that it has entered or iterates are followed. Not sure: a generator that is a context
    manager may have taken its lock by hand.
    """
    if depth == 0 or id(part) in seen:
        return
    seen.add(id(part))
    values = gc.get_referents(part)
    for _, manager in exits_in(values):
        if is_a(manager, LOCKS):
            yield manager, True
        else:
            yield from _inside(manager, depth - 1, seen)
    for value in values:
        if is_a(value, _STACKS):  # an exit stack, perhaps closed by hand: it has what it has entered
            yield from _inside(value, depth - 1, seen)
        elif is_a(value, _GENERATORS):  # a generator that it iterates, or will
            yield from ((lock, False) for lock, _ in _entered(value, depth - 1, seen))
            yield from ((lock, False) for lock in _by_hand(value))


def _inside(manager: object, depth: int, seen: set[int]) -> Iterator[tuple[object, bool]]:
    """Yield ``(lock, is sure)`` for the locks that an entered context manager holds."""
    if is_a(manager, contextlib._GeneratorContextManagerBase):  # noqa: SLF001 -- public is only the decorator
        generator = field(manager, "gen")
        if generator is not None:
            yield from _entered(generator, depth, seen)
            yield from ((lock, False) for lock in _by_hand(generator))
    elif is_a(manager, _STACKS):
        for _, callback in list(field(manager, "_exit_callbacks", ())):
            yield from _at_exit(callback, depth, seen)
    elif is_a(manager, _SHARED):
        yield manager, True
        yield from ((part, True) for part in list(attributes(manager).values()) if is_a(part, LOCKS))
    else:
        for value in list(attributes(manager).values()):
            if is_a(value, LOCKS) and _is_taken(value):
                yield value, True
            elif is_a(value, _STACKS):
                yield from _inside(value, depth - 1, seen)


def _at_exit(callback: object, depth: int, seen: set[int]) -> Iterator[tuple[object, bool]]:
    """Yield ``(lock, is sure)`` for the locks that a callback of an exit stack releases."""
    plain = field(callback, "__wrapped__")  # `stack.callback(lock.release)`
    owner = field(callback if plain is None else plain, "__self__")
    if is_a(owner, LOCKS):
        yield owner, True
    elif owner is not None and plain is None:
        yield from _inside(owner, depth - 1, seen)


def _by_hand(part: object) -> Iterator[object]:
    """Yield the taken locks that a suspended frame has most likely acquired by hand, and will release."""
    link = link_of(part)
    if link is not None and _holds_by_hand(link.code, link.frame.f_lasti):
        yield from (lock for lock in _locks_of(link) if _is_taken(lock))


def _locks_of(link: Link) -> Iterator[object]:
    """Yield the locks that a frame refers to: in its variables, their attributes, and globals that it names."""
    values = gc.get_referents(link.owner)
    space = link.frame.f_globals
    values += [space[name] for name in link.code.co_names if name in space]
    for value in values:
        if is_a(value, LOCKS):
            yield value
        elif not is_a(value, type):
            yield from (inner for inner in list(attributes(value).values()) if is_a(inner, LOCKS))


@lru_cache(maxsize=512)
def _holds_by_hand(code: CodeType, instruction: int) -> bool:
    """Tell whether code has an ``acquire()`` before an instruction, a ``release()`` after it, and none between."""
    taken = False
    given = False
    for one in dis.get_instructions(code):
        if one.argval == "acquire" and one.offset < instruction:
            taken, given = True, False
        elif one.argval == "release":
            if one.offset < instruction:
                taken = False
            else:
                given = True
    return taken and given


def _is_taken(lock: object) -> bool:
    kind: Any = next(kind for kind in LOCKS if is_a(lock, kind))
    locked = getattr(kind, "locked", None)  # an RLock has it only from 3.14 on
    return bool(locked(lock)) if locked is not None else "count=0" not in kind.__repr__(lock)


def _finding(
    thread: ThreadNow, hold: Hold, since_s: float, text: str, holder: _Holder, *, is_known: bool
) -> Finding:
    task = holder.task
    name, function = task_name(task), function_of(task)
    who = name if function in {None, name} else f"{name} ({function})"
    at = "?"
    suspended = place_in(await_chain(task))
    if suspended is not None:
        at = f"{where(suspended)}, in {suspended.name}(),"
    place = thread.place
    waits = f"in {place.name}() at {where(place)}" if place is not None else "in a call"
    message = (
        f"task {who} is suspended at {at} while it holds the thread lock {text}, and {described(hold)} blocks the "
        f"event loop's thread on that lock, {waits}: the holder cannot be resumed to release it. Use asyncio.Lock, or "
        f"release {text} before the await."
    )
    return Finding(
        code="THREAD_LOCK_ACROSS_AWAIT",
        message=message,
        severity="error",
        level="PROVEN" if holder.is_sure and is_known else "LIKELY",
        jobs=(name, *jobs_of(hold)),
        resource=text,
        location=location(place),
        since_s=since_s,
        evidence=tuple(evidence_of(hold)),
    )
