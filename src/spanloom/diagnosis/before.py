"""Whether a suspended frame may have awaited anything before its present await."""

from __future__ import annotations

from collections.abc import Sequence
from dis import Instruction
from typing import Final

from spanloom.diagnosis.control import JUMPS

__all__ = ["has_awaited"]

_AWAIT: Final = "SEND"
_IN_AWAIT: Final = "JUMP_BACKWARD_NO_INTERRUPT"
"""The loop inside of each ``await``, which is no loop of the program's."""


def has_awaited(instructions: Sequence[Instruction], lasti: int) -> bool:
    """Tell whether a frame suspended at `lasti` may have awaited something before: earlier in its code, or in a loop.

    Args:
        instructions: Those of its code.
        lasti: Offset at which it is suspended: at or just after the ``SEND`` of its present ``await``.
    """
    if sum(one.opname == _AWAIT and one.offset <= lasti for one in instructions) > 1:
        return True
    return any(
        one.opcode in JUMPS and one.opname != _IN_AWAIT and one.offset > lasti >= one.argval
        for one in instructions
    )
