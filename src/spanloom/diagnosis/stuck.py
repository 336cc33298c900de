"""What does not move between two looks at the tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from spanloom.diagnosis.budget import MOST
from spanloom.diagnosis.look import forget, look
from spanloom.diagnosis.settings import looking

if TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding
    from spanloom.diagnosis.gone import Gone
    from spanloom.diagnosis.model import Snapshot

__all__ = ["APART_S", "stuck"]

APART_S: Final = 0.1
"""Seconds between the two looks: what is found in both was no moment of change."""


def stuck(*, apart_s: float = APART_S, remembered: Sequence[Gone] = (), objects: int = MOST) -> list[Finding]:
    """Return what two looks at the tasks have found, without what a watching thread knows.

    Whoever it is about must await the same in both. What is only slow moves, so that is let pass.

    Args:
        apart_s: Seconds between the looks.
        remembered, objects: As `spanloom.diagnosis.look.look` takes them.
    """
    with looking():
        from spanloom.diagnosis.verdict import diagnose  # with all its rules, which nobody needs before

        first = look(remembered, objects)
        second: Snapshot | None = None
        try:
            before = {_same(one) for one in diagnose(first)}
            if not before:
                return []
            time.sleep(apart_s)
            second = look(remembered, objects)
            return [
                one
                for one in diagnose(second, first)
                if _same(one) in before and (one.since_s is not None or one.severity == "info")
            ]
        finally:
            forget(first)
            if second is not None:
                forget(second)


def _same(one: Finding) -> tuple[str, str | None, str | None]:
    """Return what two findings have in common that are the same: a slow stage may be elsewhere each time."""
    return one.code, one.resource, None if one.severity == "info" else one.location
