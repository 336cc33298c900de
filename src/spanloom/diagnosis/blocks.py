"""Which ``with`` statements an instruction is in, read from the exception table of its code.

The body of a ``with`` is a range of instructions whose exceptions go to a handler that calls ``__exit__``. The table
has only the innermost handler of each instruction. But the handler itself lies in the range of the next outer
statement, so following it leads outwards. (CPython, ``InternalDocs/exception_handling.md``.)
"""

from __future__ import annotations

from types import CodeType

from spanloom.diagnosis.ahead import Bytecode

__all__ = ["with_lines"]


def with_lines(bytecode: Bytecode, code: CodeType, lasti: int) -> list[int]:
    """Return the lines of the ``with`` statements whose bodies contain the offset `lasti`, outermost first.

    A statement with several managers counts once for each.
    """
    instructions = bytecode.instructions(code)
    index_of = {instruction.offset: index for index, instruction in enumerate(instructions)}
    lines: list[int] = []
    left: set[int] = set()
    offset = lasti
    while True:
        target = next((to for start, end, to in bytecode.handlers(code) if start <= offset < end), None)
        if target is None or target in left:
            return lines[::-1]
        left.add(target)
        offset = target
        for instruction in instructions[index_of[target] : index_of[target] + 3]:
            if instruction.opname == "WITH_EXCEPT_START":
                line = None if instruction.positions is None else instruction.positions.lineno
                lines.append(code.co_firstlineno if line is None else line)
