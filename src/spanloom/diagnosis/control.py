"""The control-flow graph of a code object: what may be run after what, and which variables are still needed then."""

from __future__ import annotations

import dis
from typing import Final

__all__ = ["ENDS", "JUMPS", "handled", "live", "reached"]

ENDS: Final = frozenset(
    {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "RETURN_VALUE", "RETURN_CONST"}
    | {"RAISE_VARARGS", "RERAISE", "INTERPRETER_EXIT"}
)
"""After which the next instruction is not run."""
JUMPS: Final = frozenset({*dis.hasjrel, *dis.hasjabs} - {dis.opmap["END_ASYNC_FOR"]})
"""Of instructions. The end of an ``async for`` is one to `dis` from 3.14 on, but only shows where its loop began."""
_HANDLED: Final = frozenset({"POP_EXCEPT", "RERAISE", "RAISE_VARARGS"})


def reached(
    instructions: list[dis.Instruction],
    index_of: dict[int, int],
    handlers: list[tuple[int, int, int]],
    lasti: int,
    without: frozenset[int] = frozenset(),
    *,
    thrown: bool = False,
) -> set[int]:
    """Return the indexes of the instructions that may be run after the one at `lasti`.

    Args:
        instructions: Of the code.
        index_of: Their indexes, by offset.
        handlers: The exception table.
        lasti: Where it is.
        without: Offsets of instructions which do not come to an end, but may raise.
        thrown: Whether that at `lasti` is one of those.
    """
    start = index_of.get(lasti)
    if start is None:
        return set(range(len(instructions)))
    found: set[int] = set()
    entered: set[int] = set()

    def successors(index: int, *, ends: bool) -> list[int]:
        instruction = instructions[index]
        following = []
        if ends and instruction.opname not in ENDS and index + 1 < len(instructions):
            following.append(index + 1)
        if ends and instruction.opcode in JUMPS:
            following.append(index_of[instruction.argval])
        for number, (first, end, target) in enumerate(handlers):
            # Entries of `exception_entries` are in bytes, and end after the last instruction.
            if number not in entered and first <= instruction.offset < end:
                entered.add(number)
                following.append(index_of[target])
        return following

    todo = successors(start, ends=not thrown)
    while todo:
        index = todo.pop()
        if index not in found:
            found.add(index)
            todo.extend(successors(index, ends=instructions[index].offset not in without))
    return found


def handled(instructions: list[dis.Instruction], index_of: dict[int, int], target: int) -> set[int]:
    """Return the indexes of the instructions of the handler at `target`, up to where that is left."""
    found: set[int] = set()
    todo = [index_of[target]]
    while todo:
        index = todo.pop()
        if index in found or instructions[index].opname in _HANDLED:
            continue
        found.add(index)
        if instructions[index].opcode in JUMPS:
            todo.append(index_of[instructions[index].argval])
        if instructions[index].opname not in ENDS and index + 1 < len(instructions):
            todo.append(index + 1)
    return found


def live(
    instructions: list[dis.Instruction],
    index_of: dict[int, int],
    handlers: list[tuple[int, int, int]],
    lasti: int,
) -> frozenset[str]:
    """Return the local variables that may be loaded after the instruction at `lasti` before they are stored anew.

    The liveness of compilers, from the last instruction back to the first and again, until nothing changes.
    """
    loads, stores = zip(*map(_moved, instructions), strict=True)
    follow: list[list[int]] = []
    raises: list[list[int]] = []
    for index, instruction in enumerate(instructions):
        following = [index + 1] if instruction.opname not in ENDS and index + 1 < len(instructions) else []
        if instruction.opcode in JUMPS:
            following.append(index_of[instruction.argval])
        follow.append(following)
        raises.append(
            [index_of[target] for first, end, target in handlers if first <= instruction.offset < end]
        )
    before: list[frozenset[str]] = [frozenset()] * len(instructions)
    changed = True
    while changed:
        changed = False
        for index in range(len(instructions) - 1, -1, -1):
            after = frozenset().union(*(before[target] for target in follow[index]))
            found = loads[index] | (after - stores[index])
            found = found.union(*(before[target] for target in raises[index]))
            if found != before[index]:
                before[index] = found
                changed = True
    start = index_of.get(lasti)
    if start is None:
        return frozenset().union(*loads)
    return frozenset().union(*(before[target] for target in (*follow[start], *raises[start])))


def _moved(instruction: dis.Instruction) -> tuple[frozenset[str], frozenset[str]]:
    """Return the local variables that an instruction loads, and those that it stores without loading them before."""
    name, value = instruction.opname, instruction.argval
    if instruction.opcode not in dis.haslocal and instruction.opcode not in dis.hasfree:
        return frozenset(), frozenset()
    variables = value if type(value) is tuple else (value,)
    if name == "STORE_FAST_LOAD_FAST":
        return frozenset(variables[1:]) - {variables[0]}, frozenset(variables[:1])
    if "LOAD_FAST" in name or not name.startswith(("STORE_FAST", "DELETE_FAST")):
        return frozenset(variables), frozenset()
    return frozenset(), frozenset(variables)
