"""Control flow of a function: what can still happen to a frame that is suspended at one of its instructions.

Theory of operation. A suspended frame tells where it stands, and its code tells where it can go from there. That
answers questions that no amount of looking at values does: whether a loop has a way out, whether a cancel that
arrives now would end the task or be caught and lead back to the same place, whether a pause is one between two
tries. Edges are those of the bytecode: the next instruction, the target of a jump, and from any instruction inside
a ``try`` to its handler.
Nothing is executed; a class in an ``except`` is looked up in the globals of the frame, as the interpreter would do
it.

Every answer is about what is *possible*: a condition is taken to hold and not to hold.

Long, as it has the graph of a function, the reading of each Python's bytecode into it, and the questions.
"""

from __future__ import annotations

import dis
from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from enum import Flag
from functools import lru_cache
from types import CodeType
from typing import Final

from spanloom.diagnosis.control import JUMPS
from spanloom.diagnosis.fields import namespace_of

__all__ = ["Flow", "Outcome", "flow_of"]

_RETURNS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST"})
_RAISES: Final = frozenset({"RAISE_VARARGS", "RERAISE"})
_NEVER_NEXT: Final = frozenset(
    {*_RETURNS, *_RAISES, "JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}
)
_LOADS: Final = frozenset(
    {
        "LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FAST",
        "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "BUILD_TUPLE", "PUSH_NULL", "EXTENDED_ARG",
    }
)  # fmt: skip
_STORES: Final = frozenset({"STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF", "STORE_NAME"})
_READS: Final = frozenset({"LOAD_ATTR", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME"})
_AWAITING: Final = frozenset(
    {
        "TO_BOOL", "EXTENDED_ARG", "NOT_TAKEN", "GET_AWAITABLE", "LOAD_CONST", "SEND", "YIELD_VALUE",
        "RESUME", "JUMP_BACKWARD_NO_INTERRUPT", "END_SEND", "CLEANUP_THROW",
    }
)  # fmt: skip
"""Instructions between the call of an ``__aexit__`` and the jump that depends on its result."""
_MAX_INSTRUCTIONS: Final = 20_000
"""A longer function is generated code, and no retry loop."""


class Outcome(Flag):
    """What can become of an exception that is thrown into a frame."""

    NONE = 0
    RETURNS = 1
    """It is caught, and the function returns."""
    GOES_ON = 2
    """It is caught, and the function comes back to where it stands."""
    LEAVES = 4
    """It leaves the function."""


class Flow:
    """The control-flow graph of one code object. Made by `flow_of`, which caches it.

    Args:
        code: What to read; it is not executed.
    """

    def __init__(self, code: CodeType) -> None:
        self.code = code
        listed = list(dis.get_instructions(code)) if len(code.co_code) < 2 * _MAX_INSTRUCTIONS else []
        self._order = [instruction.offset for instruction in listed]
        self._at = {instruction.offset: instruction for instruction in listed}
        self._place = {offset: number for number, offset in enumerate(self._order)}
        self._handler = dict(_handlers(code, self._order))
        self._next: dict[int, tuple[int, ...]] = {}
        for number, instruction in enumerate(listed):
            ways: list[int] = []
            if instruction.opname not in _NEVER_NEXT and number + 1 < len(listed):
                ways.append(listed[number + 1].offset)
            if instruction.opcode in JUMPS:
                target = self._at[instruction.argval]
                # A jump back to SEND is part of an `await`, not a loop of the program's: it ends where SEND
                # jumps.
                ways.append(target.argval if target.opname == "SEND" else target.offset)
            self._next[instruction.offset] = tuple(ways)
        self._answers: dict[tuple[str, int, bool], object] = {}

    def _known(self, lasti: int) -> int | None:
        """Return the offset of the instruction at which a frame stands, ``None`` if there is none."""
        while lasti >= 0 and lasti not in self._at:
            lasti -= 2
        if lasti not in self._at:
            return None
        number = self._place[lasti]
        if number and self._at[lasti].opname == "RESUME":  # from 3.13 on, `lasti` is after the yield
            before = self._order[number - 1]
            return before if self._at[before].opname == "YIELD_VALUE" else lasti
        return lasti

    # what is possible -----------------------------------------------------------------------------------

    def _walk(self, starts: Iterator[int] | list[int], *, failing: bool = False) -> set[int]:
        """Return what can be reached from `starts`, these included; with `failing`, also by any exception."""
        seen: set[int] = set()
        todo = list(starts)
        while todo:
            offset = todo.pop()
            if offset in seen:
                continue
            seen.add(offset)
            todo += self._next.get(offset, ())
            handler = self._handler.get(offset)
            # The end of an `async for` is an exception, too, but no failure.
            if handler is not None and (failing or self._at[handler].opname == "END_ASYNC_FOR"):
                todo.append(handler)
        return seen

    def _after(self, offset: int, *, failing: bool = False) -> set[int]:
        ways = list(self._next.get(offset, ()))
        handler = self._handler.get(offset)
        if handler is not None and (failing or self._leads_out(handler)):
            ways.append(handler)
        return self._walk(ways, failing=failing)

    def _leads_out(self, handler: int) -> bool:
        return self._at[handler].opname == "END_ASYNC_FOR"

    def can_return(self, lasti: int) -> bool:
        """Tell whether a frame that stands at `lasti` can ever return, if nothing fails."""
        offset = self._known(lasti)
        if offset is None:
            return True
        return any(self._at[reached].opname in _RETURNS for reached in self._after(offset))

    def turns(self, lasti: int) -> bool:
        """Tell whether a frame that stands at `lasti` can come there again, if nothing fails."""
        offset = self._known(lasti)
        return offset is not None and offset in self._after(offset)

    def retries(self, lasti: int) -> bool:
        """Tell whether a frame that stands at `lasti` can come there again after something has failed."""
        offset = self._known(lasti)
        if offset is None or offset not in self._after(offset, failing=True):
            return False
        handlers = {self._handler[reached] for reached in self._walk([offset]) if reached in self._handler}
        return any(
            self._at[handler].opname == "PUSH_EXC_INFO" and offset in self._walk([handler])
            for handler in handlers
        )

    def pauses_between_tries(self, lasti: int) -> bool:
        """Tell whether a frame that stands at `lasti` comes there again only after something else has failed.

        So it is: a ``sleep`` inside an ``except``, and one at the end of a loop that a success leaves.
        """
        offset = self._known(lasti)
        if offset is None or offset in self._after(offset) or offset not in self._after(offset, failing=True):
            return False
        return not self.thrown(lasti, None) & Outcome.GOES_ON

    def thrown(
        self, lasti: int, names: Mapping[str, object] | None, *, blocks_may_catch: bool = True
    ) -> Outcome:
        """Return what can become of an exception that is thrown into a frame that stands at `lasti`.

        Args:
            lasti: Where it stands.
            names: The globals of the frame, if the exception is a ``CancelledError``; ``None`` for one that any
                ``except`` may catch.
            blocks_may_catch: Whether a ``with`` block is taken to be able to swallow it.
        """
        offset = self._known(lasti)
        if offset is None:
            return Outcome.LEAVES
        outcome = Outcome.NONE
        raised, walked = [offset], set[int]()
        thrown_at: set[int] = set()
        while raised:
            at = raised.pop()
            if at in thrown_at:
                continue
            thrown_at.add(at)
            handler = self._handler.get(at)
            if handler is None:
                outcome |= Outcome.LEAVES
                continue
            if self._leads_out(handler):  # it re-raises whatever is not the end of the iteration
                raised.append(handler)
                continue
            todo = [handler]
            while todo:
                here = todo.pop()
                if here in walked:
                    continue
                walked.add(here)
                operation = self._at[here].opname
                if operation in _RAISES or operation == "CLEANUP_THROW":
                    raised.append(here)
                elif operation in _RETURNS:
                    outcome |= Outcome.RETURNS
                else:
                    todo += self._handled(here, names, blocks_may_catch)
        if offset in walked:
            outcome |= Outcome.GOES_ON
        return outcome

    def _handled(self, offset: int, names: Mapping[str, object] | None, blocks_may_catch: bool) -> list[int]:
        """Return the successors of an instruction of a handler that the class of the exception allows."""
        ways = list(self._next.get(offset, ()))
        instruction = self._at[offset]
        if "POP_JUMP" not in instruction.opname or len(ways) < 2:
            return ways
        before = self._before(offset)
        if before is None:
            return ways
        if self._at[before].opname == "CHECK_EXC_MATCH" and names is not None:
            catches = self._catches_cancel(before, names)
            if catches is not None:
                return ways[:1] if catches else ways[1:]
        if not blocks_may_catch and self._ends_block(offset):
            return ways[:1] if "IF_TRUE" in instruction.opname else ways[1:]
        return ways

    def _before(self, offset: int) -> int | None:
        number = self._place[offset] - 1
        while number >= 0 and self._at[self._order[number]].opname in {
            "TO_BOOL",
            "EXTENDED_ARG",
            "NOT_TAKEN",
        }:
            number -= 1
        return self._order[number] if number >= 0 else None

    def _ends_block(self, offset: int) -> bool:
        """Tell whether a jump depends on what an ``__exit__`` or ``__aexit__`` has returned."""
        number = self._place[offset] - 1
        while number >= 0 and self._at[self._order[number]].opname in _AWAITING:
            number -= 1
        return number >= 0 and self._at[self._order[number]].opname == "WITH_EXCEPT_START"

    def _catches_cancel(self, check: int, names: Mapping[str, object]) -> bool | None:
        """Tell whether an ``except`` catches a CancelledError.

        ``None`` if its classes cannot be looked up.
        """
        found: list[object] = []
        number = self._place[check] - 1
        loads = []
        while number >= 0 and self._at[self._order[number]].opname in _LOADS:
            loads.append(self._at[self._order[number]])
            number -= 1
        for load in reversed(loads):
            if load.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
                found.append(_look_up(names, load.argval))
            elif load.opname == "LOAD_ATTR":
                owner = found.pop() if found else None
                value = namespace_of(owner).get(load.argval)
                found.append(value)
            elif load.opname not in {"BUILD_TUPLE", "PUSH_NULL", "EXTENDED_ARG"}:
                found.append(None)
        if any(isinstance(value, type) and issubclass(CancelledError, value) for value in found):
            return True
        return False if found and all(isinstance(value, type) for value in found) else None

    @property
    def says_true(self) -> bool:
        """Whether the function can return anything but a plain ``None`` or ``False``."""
        for number, offset in enumerate(self._order):
            instruction = self._at[offset]
            if instruction.opname == "RETURN_CONST" and instruction.argval:
                return True
            if instruction.opname == "RETURN_VALUE" and number:
                before = self._at[self._order[number - 1]]
                if before.opname not in {"LOAD_CONST", "LOAD_SMALL_INT", "RETURN_GENERATOR"} or before.argval:
                    return True
        return False

    def awaited_name(self, lasti: int) -> str | None:
        """Return the last word of the name in an ``async with`` or ``await x.acquire()`` at `lasti`; else ``None``."""
        offset = self._known(lasti)
        if offset is None:
            return None
        number = self._place[offset]
        while number >= 0 and self._at[self._order[number]].opname not in {
            "BEFORE_ASYNC_WITH",
            "GET_AWAITABLE",
        }:
            number -= 1
        names: list[str] = []
        for back in range(number - 1, max(-1, number - 12), -1):
            instruction = self._at[self._order[back]]
            if instruction.opname in {
                "CALL",
                "PRECALL",
                "CACHE",
                "PUSH_NULL",
                "EXTENDED_ARG",
                "COPY",
                "SWAP",
                "BEFORE_ASYNC_WITH",
            }:
                continue
            if not instruction.opname.startswith("LOAD_") or instruction.opname == "LOAD_CONST":
                break
            if instruction.argval not in {"acquire", "__aenter__"} and isinstance(instruction.argval, str):
                names.append(instruction.argval)
                break
        return names[0] if names else None

    def _is_returned(self, offset: int) -> bool:
        """Tell whether the value loaded at `offset` is returned by the function."""
        following = self._place[offset] + 1
        return following < len(self._order) and self._at[self._order[following]].opname == "RETURN_VALUE"

    def takes_note(self, lasti: int, names: Mapping[str, object]) -> bool:
        """Tell whether the handler of a cancel here stores something that the function reads elsewhere.

        A worker that is told to stop may do so when it is done with what it has: ``except CancelledError: draining =
        True``. Only what lies between the beginning of the handler and its ``POP_EXCEPT`` counts; and what is read to
        be returned decides nothing.
        """
        offset = self._known(lasti)
        handler = None if offset is None else self._handler.get(offset)
        while handler is not None and self._at[handler].opname in {"CLEANUP_THROW", "END_ASYNC_FOR"}:
            handler = self._handler.get(handler)
        if handler is None:
            return False
        inside: set[int] = set()
        todo = [handler]
        while todo:
            here = todo.pop()
            if here in inside:
                continue
            inside.add(here)
            if self._at[here].opname not in {"POP_EXCEPT", *_RAISES}:
                todo += self._handled(here, names, True)
        # `except E as error` stores None in it at the end
        stored = {name for here in inside for name in _stored(self._at[here])}
        read = {
            name
            for where, instruction in self._at.items()
            if where not in inside and not self._is_returned(where)
            for name in _read(instruction)
        }
        return not stored.isdisjoint(read)


@lru_cache(maxsize=1_000)
def flow_of(code: CodeType) -> Flow:
    """Return the control-flow graph of `code`."""
    return Flow(code)


def _stored(instruction: dis.Instruction) -> tuple[str, ...]:
    """Return the names that an instruction stores; a combined instruction may store two."""
    name, value = instruction.opname, instruction.argval
    if name.startswith("STORE_FAST"):
        both = value if isinstance(value, tuple) else (value,)
        return both[:1] if name == "STORE_FAST_LOAD_FAST" else both
    return (value,) if name in _STORES else ()


def _read(instruction: dis.Instruction) -> tuple[str, ...]:
    """Return the names that an instruction reads; a combined instruction may read two."""
    name, value = instruction.opname, instruction.argval
    if "LOAD_FAST" in name:
        both = value if isinstance(value, tuple) else (value,)
        return both[1:] if name == "STORE_FAST_LOAD_FAST" else both
    return (value,) if name in _READS else ()


def _look_up(names: Mapping[str, object], name: object) -> object:
    value = names.get(str(name))
    if value is None:
        built_in = names.get("__builtins__")
        table = built_in if type(built_in) is dict else namespace_of(built_in)
        value = table.get(str(name))
    return value


def _handlers(code: CodeType, order: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the offset of each instruction inside a ``try`` with that of its handler.

    ``Objects/exception_handling_notes.txt``.
    """
    table = iter(code.co_exceptiontable)
    spans: list[tuple[int, int, int]] = []
    try:
        while True:
            start, length, target = _number(table) * 2, _number(table) * 2, _number(table) * 2
            _number(table)  # the stack depth, which is not needed
            spans.append((start, start + length, target))
    except StopIteration:
        pass
    for offset in order:
        for start, end, target in spans:
            if start <= offset < end:
                yield offset, target
                break


def _number(table: Iterator[int]) -> int:
    byte = next(table)
    value = byte & 63
    while byte & 64:
        byte = next(table)
        value = value << 6 | byte & 63
    return value
