"""From which queues the code of a task takes items: it tells the stages of a pipeline apart.

`spanloom.diagnosis.reach` finds who could take. But a stage reaches the queues on both sides of it and uses both
``get`` and ``put``, so only its calls tell which queue it takes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from gc import get_referents
from typing import Final

from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.calls import calls_in, methods_of, resolve, subjects
from spanloom.diagnosis.chain import Link, is_suspendable, link_of
from spanloom.diagnosis.origin import is_own
from spanloom.diagnosis.variables import variables_of

__all__ = ["is_fresh", "taken_from", "taking_at"]

_TAKING: Final = frozenset({"get", "get_nowait", "receive", "receive_nowait"})
_DEPTH: Final = 3
"""How many nested generators are followed."""


def taken_from(bytecode: Bytecode, links: Sequence[Link]) -> Iterator[object]:
    """Yield the objects whose ``get`` or ``receive`` a task calls: in its frames, generators and async iterators."""
    for link in links:
        if is_own(link.code.co_filename):
            yield from _of_frame(bytecode, link, _DEPTH)


def taking_at(bytecode: Bytecode, link: Link, queue: object) -> frozenset[int]:
    """Return the offsets at which the code of a frame looks up a method that takes something out of `queue`."""
    variables = variables_of(link.frame, link.owner)
    return frozenset(
        call.offset
        for call in calls_in(bytecode.instructions(link.code))
        if call.method in _TAKING and resolve(call.path, variables, link.frame.f_globals) is queue
    )


def is_fresh(bytecode: Bytecode, links: Sequence[Link], queue: object) -> bool:
    """Tell whether a task has such calls of its own, and has not come past any of them yet."""
    calls = [
        (link, offset)
        for link in links
        if is_own(link.code.co_filename)
        for offset in taking_at(bytecode, link, queue)
    ]
    return bool(calls) and not any(
        bytecode.comes_to(link.code, offset, link.frame.f_lasti) for link, offset in calls
    )


def _of_frame(bytecode: Bytecode, link: Link, depth: int) -> Iterator[object]:
    variables = variables_of(link.frame, link.owner)
    yield from subjects(bytecode, link.code, variables, link.frame.f_globals, _TAKING)
    if depth == 0:
        return
    for referent in get_referents(link.owner):
        if is_suspendable(referent):
            inner = link_of(referent)
            if inner is not None and is_own(inner.code.co_filename):
                yield from _of_frame(bytecode, inner, depth - 1)
            continue
        function = methods_of(referent, "__anext__")
        if function is not None and function.__code__.co_argcount:
            own = {function.__code__.co_varnames[0]: referent}
            yield from subjects(bytecode, function.__code__, own, function.__globals__, _TAKING)
