"""The control-flow graph of a code object: which instructions are reachable, and which variables are live."""

from __future__ import annotations

import dis
from typing import Final

__all__ = ["ENDS", "JUMPS", "handled", "live", "reached"]

ENDS: Final = frozenset(
    {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "RETURN_VALUE", "RETURN_CONST"}
    | {"RAISE_VARARGS", "RERAISE", "INTERPRETER_EXIT"}
)
"""Names of the instructions that never continue with the next one."""
JUMPS: Final = frozenset({*dis.hasjrel, *dis.hasjabs} - {dis.opmap["END_ASYNC_FOR"]})
"""Opcodes of jumps. From 3.14 on `dis` counts ``END_ASYNC_FOR`` among them, whose target only marks the loop."""
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
    """Return the indexes of the instructions that may run after the one at `lasti`; all, if `lasti` is no offset.

    Any instruction may raise, and so lead to its handler.

    Args:
        instructions: Those of the code.
        index_of: Their indexes, by offset.
        handlers: The exception table: first offset, offset after the last, offset of the handler. Empty: none raises.
        lasti: Offset of the present instruction.
        without: Offsets of instructions that may raise, but never complete.
        thrown: Whether the one at `lasti` never completes either.
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
    """Return the indexes of the instructions of the handler at the offset `target`, up to where it is left."""
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
    """Return the variables that are live after the instruction at `lasti`: may be loaded before they are stored again.

    Backward data flow as in compilers, repeated until nothing changes. If `lasti` is no offset, all that are loaded.
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
    """Return the variables that an instruction loads, and those that it stores before any load."""
    name, value = instruction.opname, instruction.argval
    if instruction.opcode not in dis.haslocal and instruction.opcode not in dis.hasfree:
        return frozenset(), frozenset()
    variables = value if type(value) is tuple else (value,)
    if name == "STORE_FAST_LOAD_FAST":
        return frozenset(variables[1:]) - {variables[0]}, frozenset(variables[:1])
    if "LOAD_FAST" in name or not name.startswith(("STORE_FAST", "DELETE_FAST")):
        return frozenset(variables), frozenset()
    return frozenset(), frozenset(variables)
