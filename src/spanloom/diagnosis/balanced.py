"""Functions that give back only what they have taken before: called anew, they end no wait for it."""

from __future__ import annotations

import dis
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType
from typing import Final

from spanloom.diagnosis.ahead import ENDS, JUMPS
from spanloom.diagnosis.calls import calls_in

__all__ = ["RELEASE", "takes_first"]

RELEASE: Final = "release"
_ACQUIRE: Final = "acquire"


@lru_cache(maxsize=1_000)
def takes_first(code: CodeType) -> bool:
    """Tell whether each ``x.release()`` of `code`, and of functions defined in it, comes after an ``x.acquire()``.

    On every way from the beginning, so that who waits for the permits or the lock gets none from who calls it.
    """
    if RELEASE in code.co_names and not _takes_first(code):
        return False
    return all(takes_first(const) for const in code.co_consts if type(const) is CodeType)


def _takes_first(code: CodeType) -> bool:
    instructions = list(dis.get_instructions(code))
    calls = list(calls_in(instructions))
    given = [call for call in calls if call.method == RELEASE]
    if len(given) < sum(one.argval == RELEASE for one in instructions):
        return False  # of something that has no path
    entries = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined] # since 3.11
    handlers = [(one.start, one.end, one.target) for one in entries]
    for path in {call.path for call in given}:
        taken = {call.offset for call in calls if call.method == _ACQUIRE and call.path == path}
        reached = _reached(instructions, handlers, taken)
        if any(call.offset in reached for call in given if call.path == path):
            return False
    return True


def _reached(
    instructions: Sequence[dis.Instruction], handlers: Sequence[tuple[int, int, int]], without: set[int]
) -> set[int]:
    """Return the offsets of the instructions that can be come to without those at `without`."""
    index_of = {instruction.offset: index for index, instruction in enumerate(instructions)}
    reached: set[int] = set()
    todo = [0]
    while todo:
        instruction = instructions[todo.pop()]
        offset = instruction.offset
        if offset in reached or offset in without:
            continue
        reached.add(offset)
        index = index_of[offset] + 1
        if instruction.opname not in ENDS and index < len(instructions):
            todo.append(index)
        if instruction.opcode in JUMPS:
            todo.append(index_of[instruction.argval])
        todo += [index_of[target] for start, end, target in handlers if start <= offset < end]
    return reached
