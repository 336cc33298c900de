"""What the code of a suspended frame may still do: the names that are reachable from where it stands.

A frame suspended in ``while True: await sleep(1)`` never reaches the lines after the loop, nor those before it again.
So only instructions count that the control-flow graph reaches from the present one, and of the variables only the live
ones that these load.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Final

import msgspec

from spanloom.diagnosis.control import handled, live, reached

__all__ = [
    "ITERATORS",
    "MANAGERS",
    "STATEMENT_ENDS",
    "Ahead",
    "Bytecode",
    "enters",
    "iterates",
    "names_of",
    "statement_before",
]

_DYNAMIC: Final = frozenset(
    {"getattr", "eval", "exec", "globals", "locals", "vars", "__dict__", "import_module", "__import__"}
    | {"methodcaller", "attrgetter", "modules", "get_objects", "get_referrers"}
)
MANAGERS: Final = frozenset({"__aenter__", "__aexit__", "__enter__", "__exit__"})
"""Methods that ``with`` and ``async with`` call without naming them: code with such a statement uses these names."""
ITERATORS: Final = frozenset({"__aiter__", "__anext__", "__iter__", "__next__"})
"""Methods that ``for`` and ``async for`` call without naming them."""
_ENTERING: Final = frozenset({"enter_async_context", "enter_context", "push_async_exit", "push"})
_PATH: Final = frozenset(
    {"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF", "LOAD_GLOBAL", "LOAD_NAME"}
    | {"LOAD_ATTR", "CACHE", "PUSH_NULL", "EXTENDED_ARG", "NOP"}
)
"""Instructions that load an object by its path, as ``self.owner``."""
_NO_HANDLERS: Final = frozenset({"END_ASYNC_FOR", "CLEANUP_THROW"})
_LONGEST_END: Final = 20
"""Instructions from the start of a ``with`` block's handler within which it tests the result of ``__exit__``."""
_CONSTANTS: Final = frozenset({"LOAD_CONST", "LOAD_SMALL_INT"})
_CALL: Final = frozenset({"PRECALL", "CALL"})
STATEMENT_ENDS: Final = ("STORE_", "POP_TOP", "RESUME", "RETURN_")
_WITH: Final = frozenset(
    dis.opmap[name] for name in ("BEFORE_ASYNC_WITH", "BEFORE_WITH", "LOAD_SPECIAL") if name in dis.opmap
)
_FOR: Final = frozenset({dis.opmap["GET_AITER"], dis.opmap["GET_ITER"]})


class Ahead(msgspec.Struct, frozen=True):
    """What may still be run of a code object.

    Attributes:
        names: Globals, attributes and modules that it uses, including those of functions defined in it.
        calm: Those of `names` that are reached without an exception being raised.
        variables: Local and closure variables whose present values it may load (that are live).
        dynamic: Whether it looks names up at run time, so that it may use any.
    """

    names: frozenset[str]
    calm: frozenset[str]
    variables: frozenset[str]
    dynamic: bool


def names_of(code: CodeType) -> tuple[frozenset[str], bool]:
    """Return all names that `code` and the functions defined in it use, and whether they look any up at run time."""
    names: set[str] = set()
    codes = [code]
    dynamic = False
    while codes:
        one = codes.pop()
        names.update(one.co_names)
        if enters(one):
            names |= MANAGERS
        here = _DYNAMIC.intersection(one.co_names)
        if here:
            strings = [const for const in one.co_consts if type(const) is str]
            names.update(strings)
            dynamic = dynamic or here != {"getattr"} or _looks_up(list(dis.get_instructions(one)))
        codes.extend(const for const in one.co_consts if type(const) is CodeType)
    return frozenset(names), dynamic


def enters(code: CodeType) -> bool:
    """Return whether code has a ``with`` statement, or names a method of an exit stack that takes a manager."""
    return not _WITH.isdisjoint(code.co_code[::2]) or not _ENTERING.isdisjoint(code.co_names)


def iterates(code: CodeType) -> bool:
    """Return whether code has a ``for`` or an ``async for``."""
    return not _FOR.isdisjoint(code.co_code[::2])


def _looks_up(instructions: Sequence[dis.Instruction]) -> bool:
    """Return whether a ``getattr`` takes a name that is no constant, as ``getattr(self, f"do_{word}")``."""
    for at, instruction in enumerate(instructions):
        if instruction.argval == "getattr" and instruction.opcode in dis.hasname:
            arguments = iter(instructions[at + 1 :])
            name = next((one for one in arguments if one.opname not in _PATH), None)
            if name is None or name.opcode not in dis.hasconst or type(name.argval) is not str:
                return True
            end = next((one for one in arguments if one.opname not in _PATH | _CONSTANTS), None)
            if end is None or end.opname not in _CALL:
                return True
    return False


class Bytecode:
    """Analyses of code objects, remembered for as long as one look lasts."""

    def __init__(self) -> None:
        self._lists: dict[int, tuple[CodeType, list[dis.Instruction]]] = {}
        self._handlers: dict[int, tuple[CodeType, list[tuple[int, int, int]]]] = {}
        self._ahead: dict[tuple[int, int, bool], Ahead] = {}
        self._names: dict[int, tuple[CodeType, frozenset[str], bool]] = {}

    def instructions(self, code: CodeType) -> list[dis.Instruction]:
        """Return the instructions of `code`."""
        found = self._lists.get(id(code))
        if found is None:
            found = self._lists[id(code)] = code, list(dis.get_instructions(code))
        return found[1]

    def handlers(self, code: CodeType) -> list[tuple[int, int, int]]:
        """Return the exception table of `code`: ``(first offset, offset after the last, offset of the handler)``."""
        found = self._handlers.get(id(code))
        if found is None:
            entries = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined] # since 3.11
            found = self._handlers[id(code)] = code, [(one.start, one.end, one.target) for one in entries]
        return found[1]

    def names(self, code: CodeType) -> tuple[frozenset[str], bool]:
        """Return what `names_of` does."""
        found = self._names.get(id(code))
        if found is None:
            found = self._names[id(code)] = (code, *names_of(code))
        return found[1], found[2]

    def ahead(self, code: CodeType, lasti: int, *, running: bool = False) -> Ahead:
        """Return what a frame of `code` may still run.

        Args:
            code: Its code.
            lasti: Offset in bytes of the instruction at which it is suspended, or which it runs; negative: not started.
            running: Whether it is running: then its value stack cannot be seen, and what may lie there counts as ahead,
                as the method ``set_result`` in ``future.set_result(compute())``.
        """
        key = id(code), lasti, running
        found = self._ahead.get(key)
        if found is None:
            found = self._ahead[key] = self._analyse(code, lasti, running=running)
        return found

    def _analyse(self, code: CodeType, lasti: int, *, running: bool) -> Ahead:
        instructions = self.instructions(code)
        if lasti < 0:  # not started
            names, dynamic = self.names(code)
            return Ahead(
                names, names, frozenset((*code.co_varnames, *code.co_cellvars, *code.co_freevars)), dynamic
            )
        index_of = {instruction.offset: index for index, instruction in enumerate(instructions)}
        handlers = self.handlers(code)
        calm = reached(instructions, index_of, [], lasti)
        every = reached(instructions, index_of, handlers, lasti)
        if running:
            loaded = _loaded(instructions, index_of.get(lasti, 0))
            calm |= loaded
            every |= loaded
        names, variables, dynamic = self._used(instructions, every)
        quiet, _, _ = self._used(instructions, calm)
        variables &= live(instructions, index_of, handlers, lasti) | {*code.co_cellvars, *code.co_freevars}
        return Ahead(names, quiet, variables, dynamic)

    def comes_to(self, code: CodeType, start: int, end: int) -> bool:
        """Return whether the instruction at offset `end` may run after that at `start`; ``True`` if `end` is none."""
        instructions = self.instructions(code)
        index_of = {instruction.offset: index for index, instruction in enumerate(instructions)}
        return end not in index_of or index_of[end] in reached(
            instructions, index_of, self.handlers(code), start
        )

    def ahead_without(self, code: CodeType, lasti: int, without: frozenset[int], *, thrown: bool) -> Ahead:
        """Return what a suspended frame of `code` may still run if some instructions never complete.

        Args:
            code: Its code.
            lasti: Offset of the instruction at which it is suspended.
            without: Offsets of the instructions that do not complete; what they raise is still handled.
            thrown: Whether its present await does not complete either: it goes on only in a handler.
        """
        instructions = self.instructions(code)
        index_of = {instruction.offset: index for index, instruction in enumerate(instructions)}
        handlers = self.handlers(code)
        if thrown:  # from 3.12 on, an await that an exception is thrown into may complete by `CLEANUP_THROW`
            without |= {
                target
                for start, end, target in handlers
                if start <= lasti < end and instructions[index_of[target]].opname == "CLEANUP_THROW"
            }
        found = reached(instructions, index_of, handlers, lasti, without, thrown=thrown)
        names, variables, dynamic = self._used(instructions, found)
        variables &= live(instructions, index_of, handlers, lasti) | {*code.co_cellvars, *code.co_freevars}
        return Ahead(names, names, variables, dynamic)

    def swallowing(self, code: CodeType, lasti: int) -> frozenset[int]:
        """Return the offsets of the jumps that the ``with`` blocks around `lasti` take when ``__exit__`` swallows."""
        instructions = self.instructions(code)
        index_of = {instruction.offset: index for index, instruction in enumerate(instructions)}
        found: set[int] = set()
        for target in self._around(code, lasti):
            ahead = instructions[index_of[target] :][:_LONGEST_END]
            asked = [one.opname for one in ahead[:2]][-1:] == ["WITH_EXCEPT_START"]
            found.update(
                [one.offset for one in ahead if one.opname.endswith("_IF_TRUE")][:1] if asked else ()
            )
        return frozenset(found)

    def _around(self, code: CodeType, lasti: int) -> Iterator[int]:
        """Yield the offsets of the handlers that an exception raised at `lasti` passes through, innermost first."""
        handlers = self.handlers(code)
        passed: set[int] = set()
        offset: int | None = lasti
        while offset is not None:
            offset = next(
                (to for start, end, to in handlers if start <= offset < end and to not in passed), None
            )
            if offset is not None:
                passed.add(offset)
                yield offset

    def leaving(self, code: CodeType, lasti: int) -> Ahead | None:
        """Return what a frame of `code` runs if an exception is thrown into it at offset `lasti`; ``None`` if nothing.

        That is the ``finally`` and ``except`` of each ``try`` it is in, but not the code after an exception was caught.
        """
        instructions = self.instructions(code)
        index_of = {instruction.offset: index for index, instruction in enumerate(instructions)}
        found: set[int] = set()
        for target in self._around(code, lasti):
            if instructions[index_of[target]].opname not in _NO_HANDLERS:
                found |= handled(instructions, index_of, target)
        if not found:
            return None
        names, variables, dynamic = self._used(instructions, found)
        return Ahead(names, names, variables, dynamic)

    def _used(
        self, instructions: list[dis.Instruction], reached: set[int]
    ) -> tuple[frozenset[str], frozenset[str], bool]:
        names: set[str] = set()
        variables: set[str] = set()
        strings: set[str] = set()
        dynamic = False
        for index in reached:
            instruction = instructions[index]
            value = instruction.argval
            if instruction.opcode in dis.hasname:
                names.add(value)
                if value in _ENTERING:
                    names |= MANAGERS
            elif instruction.opcode in _WITH:
                names |= MANAGERS
            elif instruction.opcode in dis.haslocal or instruction.opcode in dis.hasfree:
                if instruction.opname.startswith("LOAD") or "LOAD_FAST" in instruction.opname:
                    variables.update(value if type(value) is tuple else (value,))
            elif type(value) is CodeType:
                inner, inner_dynamic = self.names(value)
                names |= inner
                dynamic = dynamic or inner_dynamic
            elif type(value) is str and instruction.opcode in dis.hasconst:
                strings.add(value)
        here = _DYNAMIC & names
        if here:
            names |= strings
            dynamic = (
                dynamic
                or here != {"getattr"}
                or _looks_up([instructions[index] for index in sorted(reached)])
            )
        return frozenset(names), frozenset(variables), dynamic


def statement_before(instructions: list[dis.Instruction], lasti: int) -> int:
    """Return the offset at which the statement begins that contains the offset `lasti`."""
    at = next((index for index, one in enumerate(instructions) if one.offset >= lasti), len(instructions) - 1)
    return instructions[_statement(instructions, at)].offset


def _statement(instructions: list[dis.Instruction], at: int) -> int:
    """Return the index of the first instruction of the statement that contains the index `at`."""
    while at and not instructions[at - 1].opname.startswith(STATEMENT_ENDS):
        at -= 1
    return at


def _loaded(instructions: list[dis.Instruction], at: int) -> set[int]:
    """Return the indexes of the instructions that may have pushed what lies on the value stack at the index `at`.

    Those are the earlier ones of the present statement, and all that entered a ``with`` block before: its exit stays
    on the stack.
    """
    start = _statement(instructions, at)
    entered = {index for index, one in enumerate(instructions[:at]) if one.opcode in _WITH}
    return {*range(start, at), *entered}
