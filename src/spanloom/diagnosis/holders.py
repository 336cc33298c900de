"""Who holds what, read from suspended frames.

Inside ``async with lock:`` the bound ``lock.__aexit__`` lies on the frame's value stack, and `gc.get_referents` of the
coroutine returns it. So nothing has to be patched, and locks that were taken long before the look are seen, too. Other
ways to enter are followed: exit stacks, ``@asynccontextmanager``, classes whose ``__aexit__`` releases an attribute,
generators that are suspended inside a ``with``. All these holders are *sure*.

Locks that are acquired by hand, or by methods that acquire for their caller (`spanloom.diagnosis.lending`), leave no
trace on the stack. They are inferred from the calls before the present instruction, and are not sure.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence
from gc import get_referents
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple

from spanloom.concurrency.entered import exits_in
from spanloom.concurrency.slots import Slots
from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.blocks import with_lines
from spanloom.diagnosis.calls import (
    Call,
    Path,
    calls_in,
    keys_of,
    methods_of,
    resolve,
    stored_between,
    subjects,
)
from spanloom.diagnosis.chain import Link, is_suspendable, line_of, link_of
from spanloom.diagnosis.fields import attributes, closure_of, field
from spanloom.diagnosis.lending import GIVES, TAKES, Lending
from spanloom.diagnosis.origin import belongs_to_us, is_own, is_standard
from spanloom.diagnosis.variables import variables_of

__all__ = ["Held", "Holding", "lock_of"]

_DEPTH: Final = 4
"""How many nested managers are followed, one inside the other."""


class Held(NamedTuple):
    """One resource that a frame has held since `line`; not `sure` if that is inferred from its bytecode."""

    resource: Any
    link: Link
    line: int
    sure: bool


def lock_of(value: Any) -> Any:
    """Return the lock of a condition; anything else is returned as it is."""
    if issubclass(type(value), asyncio.Condition) or type(value).__module__ == "anyio._core._synchronization":
        inner = field(value, "_lock") or field(value, "_semaphore")
        return value if inner is None else inner
    return value


class Holding:
    """Reads holders off frames, for as long as one look lasts."""

    def __init__(self, bytecode: Bytecode) -> None:
        self._bytecode = bytecode
        kinds: list[type] = [asyncio.Lock, asyncio.Semaphore, Slots]
        backend: Any = sys.modules.get("anyio._backends._asyncio")
        named = ("Lock", "Semaphore", "CapacityLimiter")
        kinds += [getattr(backend, name) for name in named if hasattr(backend, name)]
        self.kinds: tuple[type, ...] = tuple(kinds)
        self._lending = Lending(bytecode, self.kinds, lock_of)
        self._enters: dict[tuple[int, int], bool] = {}
        self._taken: dict[tuple[int, int], list[Call]] = {}
        self._inside: dict[tuple[int, int], list[int]] = {}

    def is_lockable(self, value: object) -> bool:
        """Return whether `value` is a lock, a semaphore or a limiter."""
        return issubclass(type(value), self.kinds)

    def held(self, links: Sequence[Link]) -> Iterator[Held]:
        """Yield what the frames of a task hold, the outermost frame's first."""
        for at, link in enumerate(links):
            inner = links[at + 1] if at + 1 < len(links) else None
            if link.code.co_name == "run_job" and belongs_to_us(link.code.co_filename):
                yield from self._of_job(link, links[at:])
            else:
                yield from self._of_frame(link, inner, set())
                if link.code.co_name == "__aexit__" and at:
                    yield from self._being_left(links, at)

    def _being_left(self, links: Sequence[Link], at: int) -> Iterator[Held]:
        """Yield what a manager still holds while its ``__aexit__``, the frame `at` of `links`, is suspended.

        The bound ``__aexit__`` has left the stack of the frame around it by then.
        """
        code, frame, outer = links[at].code, links[at].frame, links[at - 1]
        variables = variables_of(frame, links[at].owner)
        manager = variables.get(code.co_varnames[0]) if code.co_argcount else None
        is_stack = issubclass(type(manager), contextlib.AsyncExitStack)
        if manager is None or (is_standard(code.co_filename) and not is_stack):
            return
        if not is_stack and not any(self._gives_ahead(link) for link in links[at:]):
            return
        line = line_of(outer.frame)
        for resource in self._within(manager, _DEPTH, set()):
            yield Held(resource, outer, line, sure=is_stack)

    def _gives_ahead(self, link: Link) -> bool:
        """Return whether a frame may still run code that releases something; ``False`` in the standard library."""
        if is_standard(link.code.co_filename):
            return False
        return not _LEAVES.isdisjoint(self._bytecode.ahead(link.code, link.frame.f_lasti).names)

    def _of_job(self, link: Link, inside: Sequence[Link]) -> Iterator[Held]:
        """Yield the slot that a runner has taken for one of its jobs, as held by the job's own frame."""
        limiter = variables_of(link.frame, link.owner).get("limiter")
        if self.is_lockable(limiter):
            own = next((one for one in inside if is_own(one.code.co_filename)), link)
            yield Held(limiter, own, line_of(own.frame), sure=True)

    def _of_frame(self, link: Link, inner: Link | None, seen: set[int]) -> Iterator[Held]:
        if is_standard(link.code.co_filename) and link.code.co_name != "__aexit__":
            return
        exits, others = self._on_stack(link, inner)
        if exits and self._entering(link, inner):
            exits.pop()
        for manager, line in zip(exits, self._lines(link, len(exits)), strict=True):
            for resource in self._within(manager, _DEPTH, seen):
                yield Held(resource, link, line, sure=True)
        for other in others:
            if id(other) not in seen:
                seen.add(id(other))
                suspended = link_of(other)
                if suspended is not None and suspended.frame.f_lasti >= 0 and not _is_awaited(other):
                    yield from self._of_frame(suspended, None, seen)
        yield from self._by_hand(link, [id(manager) for manager in exits])

    def entered(self, link: Link, inner: Link | None) -> list[Any]:
        """Return the managers of the ``with`` blocks that a frame is in, outermost first.

        Args:
            link: The frame.
            inner: The next one in its await chain, if there is one.
        """
        exits, _ = self._on_stack(link, inner)
        if exits and self._entering(link, inner):
            exits.pop()
        return exits

    def _lines(self, link: Link, count: int) -> list[int]:
        """Return the lines at which the `count` managers of a frame were entered, outermost first.

        If the exception table shows another number of blocks, each gets the line that the frame is at.
        """
        if count:
            key = id(link.code), link.frame.f_lasti
            lines = self._inside.get(key)
            if lines is None:
                lines = self._inside[key] = with_lines(self._bytecode, link.code, link.frame.f_lasti)
            if len(lines) == count:
                return lines
        return [line_of(link.frame)] * count

    def _on_stack(self, link: Link, inner: Link | None) -> tuple[list[Any], list[Any]]:
        """Return the managers whose exit lies on a frame's stack, and its generators but the one that it awaits."""
        referents = get_referents(link.owner)
        exits = [end.manager for end in exits_in(referents)]
        others = [
            referent
            for referent in referents
            if is_suspendable(referent) and (inner is None or referent is not inner.owner)
        ]
        return exits, others

    def _entering(self, link: Link, inner: Link | None) -> bool:
        """Return whether the frame awaits ``__aenter__``: ``__aexit__`` is on the stack, but nothing is held yet."""
        if inner is None:
            return False
        key = id(link.code), link.frame.f_lasti
        found = self._enters.get(key)
        if found is None:
            awaitable = None
            for instruction in self._bytecode.instructions(link.code):
                if instruction.offset > key[1]:
                    break
                if instruction.opname == "GET_AWAITABLE":
                    awaitable = instruction
            found = self._enters[key] = awaitable is not None and awaitable.arg == 1
        return found

    def _within(self, manager: Any, depth: int, seen: set[int]) -> Iterator[Any]:
        """Yield the locks, semaphores and limiters that leaving `manager` releases."""
        if self.is_lockable(manager):
            yield manager
            return
        inner = lock_of(manager)
        if inner is not manager:
            yield inner
            return
        if depth == 0 or id(manager) in seen:
            return
        seen.add(id(manager))
        if issubclass(type(manager), (contextlib.AsyncExitStack, contextlib.ExitStack)):
            for _, callback in list(field(manager, "_exit_callbacks", ())):
                yield from self._callback(callback, depth, seen)
            return
        generator = field(manager, "gen")
        if is_suspendable(generator):
            suspended = link_of(generator)
            if suspended is not None:
                for held in self._of_frame(suspended, None, seen):
                    yield held.resource
            return
        yield from self._of_class(manager, depth, seen)

    def _callback(self, callback: Any, depth: int, seen: set[int]) -> Iterator[Any]:
        if type(callback) is MethodType:
            yield from self._within(callback.__self__, depth - 1, seen)
            return
        for content in closure_of(callback).values():
            if type(content) is MethodType and content.__func__.__name__ in {
                "release",
                "__aexit__",
                "__exit__",
            }:
                yield from self._within(content.__self__, depth - 1, seen)

    def _of_class(self, manager: Any, depth: int, seen: set[int]) -> Iterator[Any]:
        """Yield the attributes that the ``__aexit__`` or ``__exit__`` of a class, or methods it calls, release."""
        names = self._released_by(type(manager))
        if not names & _LEAVES:
            return
        found = dict(attributes(manager))
        for cls in type(manager).__mro__:
            for name in names:
                if name in cls.__dict__ and name not in found:
                    found[name] = field(manager, name)
        for name, value in found.items():
            if name in names and value is not None and not issubclass(type(value), type):
                yield from self._within(value, depth - 1, seen)
        direct = {id(value) for value in found.values()}
        for name in ("__aexit__", "__exit__"):
            function = methods_of(manager, name)
            if function is not None and function.__code__.co_argcount:
                own = {function.__code__.co_varnames[0]: manager}
                code, namespace = function.__code__, function.__globals__
                for value in subjects(self._bytecode, code, own, namespace, _LEAVES):
                    if id(value) not in direct:
                        direct.add(id(value))
                        yield from self._within(value, depth - 1, seen)

    def _released_by(self, cls: type) -> frozenset[str]:
        names: set[str] = set()
        todo = ["__aexit__", "__exit__"]
        done: set[str] = set()
        while todo:
            name = todo.pop()
            if name in done:
                continue
            done.add(name)
            for base in cls.__mro__:
                function = base.__dict__.get(name)
                if type(function) is FunctionType:
                    if not is_standard(function.__code__.co_filename):
                        used, _ = self._bytecode.names(function.__code__)
                        names |= used
                        todo.extend(used)
                    break
        return frozenset(names)

    def _by_hand(self, link: Link, entered: list[int]) -> Iterator[Held]:
        """Yield what the code before the present instruction acquires, and does not release before it."""
        variables: dict[str, object] | None = None
        for call in self._taken_by(link.code, link.frame.f_lasti):
            if variables is None:
                variables = variables_of(link.frame, link.owner)
            resource = lock_of(resolve(call.path, variables, link.frame.f_globals))
            if self.is_lockable(resource) and id(resource) not in entered:
                yield Held(resource, link, call.line, sure=False)
        for resource, line in self._lending.lent(link):
            if id(resource) not in entered:
                yield Held(resource, link, line, sure=False)

    def _taken_by(self, code: CodeType, lasti: int) -> list[Call]:
        """Return, of the calls at offsets up to `lasti`, those that take and are the last use of their path."""
        found = self._taken.get((id(code), lasti))
        if found is None:
            last: dict[Path, Call] = {}
            if not TAKES.isdisjoint(code.co_names) and lasti >= 0:
                present = self._awaiting(code, lasti)
                for call in calls_in(self._bytecode.instructions(code)):
                    if call.method in _USES and call.offset <= lasti and call.offset != present:
                        last[call.path] = call
            found = [
                call
                for call in last.values()
                if call.method in TAKES and not self._is_another_by_now(code, call, lasti)
            ]
            self._taken[id(code), lasti] = found
        return found

    def _is_another_by_now(self, code: CodeType, call: Call, lasti: int) -> bool:
        """Return whether an index of the call's path was assigned since, so that it may name another element now."""
        keys = keys_of(call.path)
        return bool(keys) and stored_between(self._bytecode.instructions(code), keys, call.offset, lasti)

    def _awaiting(self, code: CodeType, lasti: int) -> int:
        """Return the offset of the method whose call is being awaited at `lasti`; -1 if there is none."""
        found = -1
        for instruction in self._bytecode.instructions(code):
            if instruction.offset > lasti:
                break
            if instruction.opname in {"LOAD_METHOD", "LOAD_ATTR"}:
                found = instruction.offset
            elif (
                instruction.opname.startswith(("STORE_FAST", "POP_TOP", "STORE_ATTR", "RESUME"))
                and instruction.offset < lasti
            ):
                found = -1
        return found


_USES: Final = TAKES | GIVES
_LEAVES: Final = frozenset({"release", "__aexit__", "__exit__", "aclose"})


def _is_awaited(value: Any) -> bool:
    """Return whether it is a coroutine, or an async generator in an await: then it is a link of some await chain."""
    kind = type(value).__name__
    if kind == "coroutine":
        return True
    return kind == "async_generator" and value.ag_await is not None
