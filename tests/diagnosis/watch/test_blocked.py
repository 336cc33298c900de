"""What holds a loop, told from a few looks at it."""

from __future__ import annotations

import pytest

from spanloom.diagnosis.watch.blocked import _stays
from spanloom.diagnosis.watch.frames import Call
from spanloom.diagnosis.watch.pulse import Hold, Used


@pytest.mark.parametrize("ends", [True, False])
def test_a_hold_that_is_over_when_looked_at_again_is_none(*, ends: bool) -> None:
    """On a machine that has other things to do, all threads of a program stand still for a second at times."""
    stack = (Call(test_a_hold_that_is_over_when_looked_at_again_is_none.__code__, 1, 0),)
    hold = Hold(0.0, None, Used(0.0, 0.0))
    hold.add(stack, 1.5, Used(1.0, 0.0))

    def look() -> None:
        hold.add(stack, 1.6, Used(1.1, 0.0))
        hold.ended_s = 1.6 if ends else None

    assert _stays(hold, look) is not ends
    assert sum(hold.places.values()) == (2 if ends else 3)
