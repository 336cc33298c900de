"""What lies behind a suspended frame: whether it can have awaited anything before what it awaits now."""

from __future__ import annotations

from collections.abc import Sequence
from dis import Instruction
from typing import Final

from spanloom.diagnosis.control import JUMPS

__all__ = ["has_awaited"]

_AWAIT: Final = "SEND"
_IN_AWAIT: Final = "JUMP_BACKWARD_NO_INTERRUPT"
"""By which an ``await`` goes round in itself."""


def has_awaited(instructions: Sequence[Instruction], lasti: int) -> bool:
    """Tell whether a frame that is suspended at `lasti` may have awaited something before.

    Args:
        instructions: Of its code.
        lasti: Where it stands: at or just behind the ``SEND`` of its present ``await``.
    """
    if sum(one.opname == _AWAIT and one.offset <= lasti for one in instructions) > 1:
        return True
    return any(
        one.opcode in JUMPS and one.opname != _IN_AWAIT and one.offset > lasti >= one.argval
        for one in instructions
    )
