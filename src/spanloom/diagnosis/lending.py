"""Methods that acquire a lock for their caller, and others that release it: ``pool.take()``, ``pool.give_back()``.

Between the two calls the caller holds the lock, and no stack shows that. So the methods that a frame has called before
its present statement are read: one that acquires a lock and does not release it lends it to the caller, one that only
releases it takes it back, and the last call counts. The order is that of the instructions, so the result is not sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final

from spanloom.diagnosis.ahead import Bytecode, statement_before
from spanloom.diagnosis.calls import Call, calls_in, methods_of, resolve, subjects
from spanloom.diagnosis.chain import Link
from spanloom.diagnosis.variables import variables_of

__all__ = ["GIVES", "TAKES", "Lending"]

TAKES: Final = frozenset({"acquire", "__aenter__", "acquire_nowait"})
GIVES: Final = frozenset({"release", "__aexit__"})
_ACQUIRES: Final = frozenset({"acquire", "acquire_nowait"})
"""Methods that acquire without a block that releases at its end, as ``async with`` does."""
_RELEASES: Final = frozenset({"release"})
_AWAIT: Final = len("await ")


class Lending:
    """Finds what frames hold by such methods; for one look.

    Args:
        bytecode: Analyses of code, shared by the look.
        kinds: The types of locks, semaphores and limiters.
        lock_of: Returns the lock of a condition; anything else as it is.
    """

    def __init__(self, bytecode: Bytecode, kinds: tuple[type, ...], lock_of: Callable[[Any], Any]) -> None:
        self._bytecode = bytecode
        self._kinds = kinds
        self._lock_of = lock_of
        self._calls: dict[tuple[int, int], list[Call]] = {}

    def lent(self, link: Link) -> Iterator[tuple[Any, int]]:
        """Yield ``(resource, line of the call)`` for what was acquired for a frame and not released since."""
        key = id(link.code), link.frame.f_lasti
        calls = self._calls.get(key)
        if calls is not None and not calls:
            return  # an earlier frame at the same place had no such call: thousands of tasks may stand there
        variables = variables_of(link.frame, link.owner)
        helping = []
        last: dict[int, tuple[bool, Any, int]] = {}
        for call in self._before(link.code, link.frame.f_lasti) if calls is None else calls:
            value = resolve(call.path, variables, link.frame.f_globals)
            if value is None or issubclass(type(value), self._kinds):
                continue
            taken, given = self._changed_by(value, call.method)
            if taken or given:
                helping.append(call)
            for resource in taken.values() if self._is_awaited(link.code, call) else ():
                last[id(resource)] = True, resource, call.line
            for resource in given.values():
                last[id(resource)] = False, resource, call.line
        if calls is None:
            self._calls[key] = helping
        yield from ((resource, line) for is_taken, resource, line in last.values() if is_taken)

    def _before(self, code: CodeType, lasti: int) -> list[Call]:
        """Return the method calls before the present statement, without those that acquire or release directly."""
        if lasti < 0:
            return []
        instructions = self._bytecode.instructions(code)
        end = statement_before(instructions, lasti)
        return [
            call
            for call in calls_in(instructions)
            if call.offset < end and call.method not in TAKES and call.method not in GIVES
        ]

    def _is_awaited(self, code: CodeType, call: Call) -> bool:
        """Return whether ``await`` stands directly before a call; its result may go to a task instead."""
        instructions = iter(self._bytecode.instructions(code))
        begins = next((one.positions for one in instructions if one.offset == call.offset), None)
        awaits = next((one.positions for one in instructions if one.opname == "GET_AWAITABLE"), None)
        if begins is None or awaits is None or begins.col_offset is None or awaits.col_offset is None:
            return False
        return (begins.lineno, begins.col_offset) == (awaits.lineno, awaits.col_offset + _AWAIT)

    def _changed_by(self, value: object, method: str) -> tuple[dict[int, Any], dict[int, Any]]:
        """Return what a method of `value` acquires and does not release, and what it only releases, by identity."""
        function = methods_of(value, method)
        if function is None or not function.__code__.co_argcount:
            return {}, {}
        own = {function.__code__.co_varnames[0]: value}
        found = []
        for names in (_ACQUIRES, _RELEASES):
            used = subjects(self._bytecode, function.__code__, own, function.__globals__, names)
            locks = map(self._lock_of, used)
            found.append({id(lock): lock for lock in locks if issubclass(type(lock), self._kinds)})
        taken, given = found
        return (
            {key: lock for key, lock in taken.items() if key not in given},
            {key: lock for key, lock in given.items() if key not in taken},
        )
