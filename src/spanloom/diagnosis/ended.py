"""Tasks that have ended and would have been needed: who they were, what they died of, and what they could have done."""

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
"""Tasks of one function that are told of if they are gone."""


class Ended:
    """Reads ended tasks without asking them: `exception()` would silence "never retrieved"."""

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
        """Take note of those that failed, and of what each could have done for a resource of `wanted`."""
        for task in tasks:
            if len(self.found) >= _MOST:
                return
            error = field(task, "_exception")
            code = code_of(field(task, "_coro"))
            if error is None and code is None:
                continue
            self.found.append(self._describe(task, error, code, wanted))

    def remember(self, gone: Sequence[Gone], tasks: Iterable[Any]) -> None:
        """Take note of tasks that are gone.

        Args:
            gone: What was noted of them when they were made, and of those that were lost.
            tasks: Those that there are, ended ones included.
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
            # Who was cancelled may have been so on purpose: only what it took is missed.
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
    """Return the error that a cancelled task ended with, as long as nobody has been given it."""
    if field(task, "_state") != "CANCELLED":
        return None
    return next((one for one in get_referents(task) if type(one) is asyncio.CancelledError), None)


def _wanted_of(kind: str) -> frozenset[str] | None:
    """Return what the methods are called that end a wait, and of what is held those that take it by hand."""
    givers = GIVERS.get(kind)
    return givers | TAKERS if givers is not None and kind in HELD else givers


def _waited_for(error: BaseException | None, wanted: Iterable[Kept]) -> frozenset[int]:
    """Return the keys of what is held that a task was waiting for in vain when `error` was raised in it."""
    timed_out = issubclass(type(error), TimeoutError)  # by a cancel, which it was made of
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
