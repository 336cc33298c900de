"""Whether a cancel that arrives at a task now would end it, or be caught and lead back into its loop."""

from __future__ import annotations

import contextlib
from asyncio import CancelledError
from types import FrameType, FunctionType, MappingProxyType

from spanloom.concurrency.entered import Exit, exits_of
from spanloom.diagnosis.chain import link_of
from spanloom.diagnosis.fields import field, is_a, module_of
from spanloom.diagnosis.history.flow import Outcome, flow_of
from spanloom.diagnosis.origin import is_own

__all__ = ["cancel_here"]


def cancel_here(frames: list[tuple[object, FrameType, int]]) -> tuple[bool, bool, int]:
    """Follow a cancel that arrives at a task now through its frames.

    Args:
        frames: ``(coroutine or generator, its frame, index in the whole chain)``, outermost first.

    Returns:
        Whether it can be caught and lead back into a loop; whether a handler on its way changes what the function looks
        at; and the number of the frame whose loop it leads back into, -1 if it does not.
    """
    raised, returned = True, False
    note = False
    for suspended, frame, number in reversed(frames):
        if not is_own(frame.f_code.co_filename):
            continue  # asyncio's own frames pass a cancel on
        flow, lasti = flow_of(frame.f_code), frame.f_lasti
        if returned and flow.turns(lasti):
            return True, note, number
        returns = returned and flow.can_return(lasti)
        raises = False
        if raised:
            names = MappingProxyType(frame.f_globals)
            outcome = flow.thrown(lasti, names, blocks_may_catch=_in_block_that_swallows(suspended))
            if outcome & ~Outcome.LEAVES:
                note = note or flow.takes_note(lasti, names)
            if outcome & Outcome.GOES_ON:
                return True, note, number
            returns = returns or bool(outcome & Outcome.RETURNS)
            raises = bool(outcome & Outcome.LEAVES)
        raised, returned = raises, returns
    return False, note, -1


def _in_block_that_swallows(suspended: object) -> bool:
    """Tell whether a frame is in a ``with`` block whose end may swallow a cancel.

    Its ``__exit__`` is on the frame's stack.
    """
    return any(map(_swallows, exits_of(suspended)))


def _swallows(leave: Exit) -> bool:
    owner = leave.manager
    if is_a(owner, contextlib.suppress):
        kinds = field(owner, "_exceptions", ())
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        return any(isinstance(kind, type) and issubclass(CancelledError, kind) for kind in kinds)
    if is_a(owner, (contextlib.ExitStack, contextlib.AsyncExitStack)):
        return True
    generator = field(owner, "gen") if module_of(type(owner)) == "contextlib" else None
    if generator is not None:  # made by `contextmanager` or `asynccontextmanager`
        link = link_of(generator)
        if link is None or link.frame.f_lasti < 0:
            return False
        outcome = flow_of(link.code).thrown(
            link.frame.f_lasti, MappingProxyType(link.frame.f_globals), blocks_may_catch=False
        )
        return bool(outcome & ~Outcome.LEAVES)
    function = leave.function
    return (
        type(function) is FunctionType
        and is_own(function.__code__.co_filename)
        and flow_of(function.__code__).says_true
    )
