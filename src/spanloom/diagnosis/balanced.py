"""Functions that release only what they have acquired themselves: a call of one ends no wait for it."""

from __future__ import annotations

import dis
from functools import lru_cache
from types import CodeType
from typing import Final

from spanloom.diagnosis.calls import calls_in, keys_of, stored_between
from spanloom.diagnosis.control import reached

__all__ = ["RELEASE", "takes_first"]

RELEASE: Final = "release"
_ACQUIRE: Final = "acquire"


@lru_cache(maxsize=1_000)
def takes_first(code: CodeType) -> bool:
    """Tell whether, on every path from the beginning of `code`, each ``x.release()`` comes after an ``x.acquire()``.

    The same must hold for the functions defined in it. Then a call adds no permit: those who wait get none from it.
    """
    if RELEASE in code.co_names and not _takes_first(code):
        return False
    return all(takes_first(const) for const in code.co_consts if type(const) is CodeType)


def _takes_first(code: CodeType) -> bool:
    instructions = list(dis.get_instructions(code))
    calls = list(calls_in(instructions))
    given = [call for call in calls if call.method == RELEASE]
    if len(given) < sum(one.argval == RELEASE for one in instructions):
        return False  # one of them has no path that can be compared
    entries = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined] # since 3.11
    handlers = [(one.start, one.end, one.target) for one in entries]
    index_of = {instruction.offset: index for index, instruction in enumerate(instructions)}
    for path in {call.path for call in given}:
        if stored_between(instructions, keys_of(path), -1, instructions[-1].offset):
            return False  # its index or key is assigned: the path may lead to another object
        taken = frozenset(call.offset for call in calls if call.method == _ACQUIRE and call.path == path)
        found = reached(instructions, index_of, handlers, 0, taken)
        if any(index_of[call.offset] in found for call in given if call.path == path):
            return False
    return True
