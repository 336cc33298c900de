"""Numbers of tasks of each kind over time: made, pending, ended, and how long they lived."""

from __future__ import annotations

import asyncio
import time
import weakref
from asyncio.base_events import BaseEventLoop
from collections import deque
from functools import partial
from types import CodeType
from typing import Any, Final

import msgspec

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.chain import chain_of, code_of
from spanloom.diagnosis.fields import field, future_done, loop_of, task_cancelling
from spanloom.diagnosis.history.live import Ref, refs, with_task
from spanloom.diagnosis.origin import is_own
from spanloom.diagnosis.pace import in_slices

__all__ = ["Census", "Kind", "Member"]

MAX_KINDS: Final = 1_000
MAX_TASKS: Final = 50_000
"""Tasks that are known one by one, at most; 10 MB."""
SAMPLES: Final = 60
"""Samples that are kept of each kind."""
LIVES: Final = 200
"""Lifetimes that are kept of each kind."""


class Kind(msgspec.Struct, eq=False):
    """The tasks that run one function.

    Attributes:
        code: Code of the function: the outermost of the program's own; else of what it runs, as ``Event.wait``.
        pending: How many have not ended.
        seen: How many were seen in all.
        ended: How many of those have ended.
        samples: ``(time, pending, seen, ended)``, oldest first.
        unseen_s: Seconds between the last look before and that which saw the first one.
        lives: Lifetimes of ended ones, in seconds; too long by up to one step.
    """

    code: CodeType
    pending: int = 0
    seen: int = 0
    ended: int = 0
    unseen_s: float = 0.0
    samples: deque[tuple[float, int, int, int]] = msgspec.field(default_factory=lambda: deque(maxlen=SAMPLES))
    lives: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=LIVES))

    @property
    def function(self) -> str:
        """Qualified name of the function, without the ``<locals>`` it was made in."""
        return bare_name(self.code.co_qualname)

    @property
    def location(self) -> str:
        """``file:line`` of its definition."""
        return f"{self.code.co_filename}:{self.code.co_firstlineno}"


class Member(msgspec.Struct, eq=False):
    """One task.

    Attributes:
        kind: Its kind.
        since: When it was first seen, by `time.monotonic`.
        cancelled_at: When it was first seen with a pending cancel request (`asyncio.Task.cancelling`).
        ended: Whether it has ended, and still exists.
        went_on: How many looks have since seen it go on in its loop in spite of the cancel.
        went_on_at: Where: ``file:line``.
        took_note: Whether one of them found that the handler of the cancel stores something that the loop reads.
    """

    kind: Kind
    since: float
    cancelled_at: float | None = None
    ended: bool = False
    went_on: int = 0
    went_on_at: str | None = None
    took_note: bool = False


class Census:
    """Counts the tasks of all loops, by kind. One thread at a time.

    Attributes:
        kinds: By code.
        members: The living tasks, by asyncio's own weak references.
        met, gone: How many tasks have been seen to appear, and to end, in all.
    """

    def __init__(self) -> None:
        self.kinds: dict[CodeType, Kind] = {}
        self.members: dict[Ref, Member] = {}
        self.at: float = time.monotonic()
        self.steps: int = 0
        self.met: int = 0
        self.gone: int = 0
        self._loops: set[weakref.ref[asyncio.AbstractEventLoop]] = set()

    def step(self, now: float) -> None:
        """Count once.

        Args:
            now: Seconds, by `time.monotonic`.
        """
        members = self.members
        current = refs()
        for ref in in_slices(members.keys() - current):
            self._end(members.pop(ref), now)
        for ref in in_slices(current - members.keys()):
            if len(members) >= MAX_TASKS:
                break
            with_task(ref, partial(self._meet, ref, now))
        for ref, member in in_slices(members.items()):
            if not member.ended and not with_task(ref, partial(self._visit, member, now)):
                self._end(member, now)
        for kind in self.kinds.values():
            kind.samples.append((now, kind.pending, kind.seen, kind.ended))
        self.at = now
        self.steps += 1

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """Return the loops that are not asyncio's own and whose tasks were met since the last call."""
        found = [loop for ref in self._loops if (loop := ref()) is not None]
        self._loops.clear()
        return found

    def _meet(self, ref: Ref, now: float, task: asyncio.Task[Any]) -> None:
        loop = loop_of(task)
        if not isinstance(loop, BaseEventLoop):
            self._loops.add(weakref.ref(loop))
        code = _own_code(task)
        if code is None:
            return
        kind = self.kinds.get(code)
        if kind is None:
            if len(self.kinds) >= MAX_KINDS:
                self._forget()
            kind = self.kinds[code] = Kind(code, unseen_s=now - self.at)
        kind.seen += 1
        kind.pending += 1
        self.members[ref] = Member(kind, now)
        self.met += 1

    def _visit(self, member: Member, now: float, task: asyncio.Task[Any]) -> None:
        if future_done(task):
            self._end(member, now)
        elif task_cancelling(task):
            if member.cancelled_at is None:
                member.cancelled_at = now
                member.went_on = 0
        elif member.cancelled_at is not None:  # the cancel was taken back
            member.cancelled_at = None

    def _end(self, member: Member, now: float) -> None:
        if not member.ended:
            member.ended = True
            self.gone += 1
            kind = member.kind
            kind.pending -= 1
            kind.ended += 1
            kind.lives.append(now - member.since)

    def _forget(self) -> None:
        """Forget the kinds without tasks."""
        for code, kind in list(self.kinds.items()):
            if not kind.pending:
                del self.kinds[code]


def _own_code(task: asyncio.Task[Any]) -> CodeType | None:
    """Return the code of the outermost function of the program's own, if that can be known yet."""
    code = code_of(field(task, "_coro"))
    if code is not None and is_own(code.co_filename):
        return code
    links, awaited = chain_of(field(task, "_coro"))
    own = next((link.code for link in links if is_own(link.code.co_filename)), None)
    if own is not None:
        return own
    has_begun = len(links) > 1 or awaited is not None
    return code if has_begun else None  # else it is asked again later
