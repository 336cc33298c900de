"""What two looks at the tasks agree on."""

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
"""Seconds between two looks: what both find was no passing state."""
MORE: Final = 2
"""Further looks, if only one of the first two has found a slow stage: a full queue has room now and then."""


def stuck(*, apart_s: float = APART_S, remembered: Sequence[Gone] = (), objects: int = MOST) -> list[Finding]:
    """Return what two looks at the tasks agree on, without what only a watching thread knows.

    Both looks must have the same finding, and its tasks must not have moved between them. A slow stage (severity
    ``"info"``) may move; if only one look has found it, two more looks have to find it, too.

    Blocks the calling thread, between looks for `apart_s`. If the first look finds nothing and no task waits for room
    in a queue, there is no second.

    Args:
        apart_s: Seconds between the looks.
        remembered, objects: As `spanloom.diagnosis.look.look` takes them.
    """
    with looking():
        from spanloom.diagnosis.verdict import diagnose  # late, as it loads all the rules

        first = look(remembered, objects)
        second: Snapshot | None = None
        try:
            before = diagnose(first)
            if not before and not _has_lines(first):
                return []
            time.sleep(apart_s)
            second = look(remembered, objects)
            after = diagnose(second, first)
        finally:
            forget(first)
            if second is not None:
                forget(second)
        known = set(map(_same, before))
        found = [
            one for one in after if one.since_s is not None and _same(one) in known and one.severity != "info"
        ]
        slow = [[one for one in each if one.severity == "info"] for each in (before, after)]
        steady = set.intersection(*(set(map(_same, each)) for each in slow))
        doubtful = {_same(one) for each in slow for one in each} - steady
        for _ in range(MORE if doubtful else 0):
            time.sleep(apart_s)
            one_more = look(remembered, objects)
            try:
                doubtful &= set(map(_same, diagnose(one_more)))
            finally:
                forget(one_more)
        last = {_same(one): one for each in slow for one in each}
        return found + [one for key, one in last.items() if key in steady | doubtful]


def _has_lines(snapshot: Snapshot) -> bool:
    """Return whether somebody waits for room in a queue, or did so when it was first seen."""
    return any("put" in (task.kind, task.was) for task in snapshot.tasks.values())


def _same(one: Finding) -> tuple[str, str | None, str | None]:
    """Return what identifies a finding; without the location for a slow stage, which may be elsewhere each time."""
    return one.code, one.resource, None if one.severity == "info" else one.location
