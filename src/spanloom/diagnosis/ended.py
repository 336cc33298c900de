"""Ended tasks that may be missed: what they were, what they raised, and which waits they could have ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from gc import get_referents
from typing import Any

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.budget import Budget
from spanloom.diagnosis.chain import called_by_author, code_of
from spanloom.diagnosis.fields import field
from spanloom.diagnosis.functions import Functions
from spanloom.diagnosis.gone import Gone
from spanloom.diagnosis.model import HELD, EndedTask
from spanloom.diagnosis.origin import is_own
from spanloom.diagnosis.reach import Reach
from spanloom.diagnosis.resources import Kept
from spanloom.diagnosis.waits import GIVERS, TAKERS

__all__ = ["Ended"]

_MOST = 200
_NAMED = 5
"""Names of tasks of one function that are kept if the tasks are gone."""


class Ended:
    """Reads ended tasks without calling them: `exception()` would silence "exception was never retrieved"."""

    def __init__(
        self, bytecode: Bytecode, budget: Budget, owned: frozenset[int], functions: Functions
    ) -> None:
        self._bytecode = bytecode
        self._functions = functions
        self._through: dict[tuple[Any, ...], tuple[frozenset[str], ...]] = {}
        self._budget = budget
        self._owned = owned
        self.found: list[EndedTask] = []

    def read(self, tasks: Sequence[Any], wanted: Sequence[Kept]) -> None:
        """Describe ended tasks that still exist, and which waits for resources of `wanted` each could have ended."""
        for task in tasks:
            if len(self.found) >= _MOST:
                return
            error = field(task, "_exception")
            code = code_of(field(task, "_coro"))
            if error is None and code is None:
                continue
            self.found.append(self._describe(task, error, code, wanted))

    def remember(self, gone: Sequence[Gone], tasks: Iterable[Any]) -> None:
        """Describe tasks that no longer exist.

        Args:
            gone: What was noted when they were made, or when their exception was lost.
            tasks: All tasks that still exist, ended ones included. If a function has as many as were made, none is
                gone.
        """
        if not gone:
            return
        there: Counter[int] = Counter()  # by identity: to hash code takes as long as all else
        names: set[str] = {one.name for one in self.found if one.error is not None}
        for task in tasks:
            there[id(code_of(field(task, "_coro")))] += 1
            names.add(asyncio.Task.get_name(task))
        for one in gone:
            if one.error is None and one.made <= there[id(one.codes[0])]:
                continue
            if len(self.found) >= _MOST:
                return
            used = frozenset().union(*map(self._names, one.codes))
            missing = [name for name in one.names if one.error is not None or name not in names][-_NAMED:]
            for name in missing or ("",):
                self.found.append(
                    EndedTask(
                        name,
                        one.function,
                        one.error,
                        one.message,
                        one.location,
                        names=used,
                        through=self._called_by(one.codes),
                        gone=True,
                    )
                )
                if one.error is not None:
                    names.add(name)

    def _called_by(self, codes: tuple[Any, ...]) -> tuple[frozenset[str], ...]:
        found = self._through.get(codes)
        if found is None:
            found = self._through[codes] = self._functions.called_by(codes)
        return found

    def _describe(
        self, task: Any, error: BaseException | None, code: Any, wanted: Sequence[Kept]
    ) -> EndedTask:
        reach = Reach(self._bytecode, self._budget, self._owned)
        raised = _cancel(task) if error is None else error
        location, raised_in = None, code
        names: set[str] = set()
        traceback = None if raised is None else raised.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            if is_own(frame.f_code.co_filename):
                location, raised_in = f"{frame.f_code.co_filename}:{traceback.tb_lineno}", frame.f_code
            if error is not None:
                names |= self._names(frame.f_code)
            if is_own(frame.f_code.co_filename):
                reach.code(frame.f_code, frame.f_globals)
            reach.value(*get_referents(frame))
            del frame
            traceback = traceback.tb_next
        if code is not None:
            names |= self._names(code)
        waited = _waited_for(raised, wanted)
        gave = frozenset(
            (id(kept.value), kind)
            for kept in wanted
            for kind in kept.kinds()
            # Without an error, a task may have been cancelled on purpose: it is missed only for what it had taken.
            if (error is not None or kind in HELD) and reach.can(kept.value, _wanted_of(kind))
        )
        return EndedTask(
            asyncio.Task.get_name(task),
            "" if code is None else called_by_author(field(task, "_coro")),
            None if error is None else type(error).__name__,
            _message(error),
            location,
            cancelled=field(task, "_state") == "CANCELLED",
            waited=waited,
            gave=gave,
            names=frozenset(names),
            through=() if code is None or error is not None else self._called_by((code,)),
            raised_in="" if raised_in is code or error is None else bare_name(raised_in.co_qualname),
        )

    def _names(self, code: Any) -> set[str]:
        return {*self._bytecode.names(code)[0], *code.co_varnames, *code.co_freevars}


def _cancel(task: Any) -> BaseException | None:
    """Return the `CancelledError` of a cancelled task, which it has until somebody awaits it; else ``None``."""
    if field(task, "_state") != "CANCELLED":
        return None
    return next((one for one in get_referents(task) if type(one) is asyncio.CancelledError), None)


def _wanted_of(kind: str) -> frozenset[str] | None:
    """Return the names of the methods that end a wait and, for what is held, those that take it by hand."""
    givers = GIVERS.get(kind)
    return givers | TAKERS if givers is not None and kind in HELD else givers


def _waited_for(error: BaseException | None, wanted: Iterable[Kept]) -> frozenset[int]:
    """Return the keys of the locks, semaphores and limiters that a task waited for in vain when `error` was raised.

    They are referred to by the library frames at the end of the traceback, after the last frame of the program's own.
    """
    timed_out = issubclass(type(error), TimeoutError)  # its context is the `CancelledError` behind it
    found: set[int] = set()
    for one in (error, field(error, "__context__") if timed_out else None):
        inner: set[int] = set()
        traceback = None if one is None else one.__traceback__
        while traceback is not None:
            if is_own(traceback.tb_frame.f_code.co_filename):
                inner.clear()
            else:
                inner.update(map(id, get_referents(traceback.tb_frame)))
            traceback = traceback.tb_next
        found |= inner
    held = (kept for kept in wanted if not HELD.isdisjoint(kept.kinds())) if found else ()
    return frozenset(id(kept.value) for kept in held if id(kept.value) in found)


def _message(error: BaseException | None) -> str | None:
    """Return the first argument of an exception if it is a text: `str()` might be the program's own."""
    if error is None:
        return None
    args = BaseException.args.__get__(error)  # type: ignore[attr-defined] # a descriptor, as all fields of built-in types
    return args[0] if args and type(args[0]) is str else None
