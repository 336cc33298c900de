"""Asking a program, from inside, what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from spanloom.diagnosis.budget import MOST
from spanloom.diagnosis.look import forget, look
from spanloom.diagnosis.settings import looking

if TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding
    from spanloom.diagnosis.gone import Gone
    from spanloom.diagnosis.model import Snapshot

__all__ = ["WATCHED", "stuck", "why"]

WATCHED: Final[list[Callable[[], list[Finding]]]] = []
"""Where the process is watched: what to ask instead, which knows what only time tells, too."""

APART_S: Final = 0.1
"""Seconds between the two looks: what is found in both was no moment of change."""
SETTLE_S: Final = 0.005
"""Seconds that who asks by ``await asyncio.to_thread(why)`` gets to come to the await: a task that still runs may do
anything, so nothing would be found."""


def why(*, apart_s: float = APART_S) -> list[Finding]:
    """Say what is wrong with the running program, the cause before its symptoms.

    Looks twice, and tells what both looks have found, so that a program that moves while it is looked at is
    not taken for a stuck one. Blocks the calling thread meanwhile, and with the thread of a loop that loop: from a
    coroutine, call it by ``await asyncio.to_thread(why)``, which holds the loop for some milliseconds at a time.

    Where a loop is held, and nobody watches the process, it is looked at for up to a second more, for a hold is one
    only if it lasts.

    Args:
        apart_s: Seconds between the looks.

    Returns:
        The findings; none if nothing is wrong, or if nothing wrong can be seen.
    """
    time.sleep(SETTLE_S)
    if WATCHED:
        return WATCHED[0]()
    from spanloom.diagnosis.watch.unwatched import with_holds  # which knows this module

    return with_holds(stuck(apart_s=apart_s))


def stuck(*, apart_s: float = APART_S, remembered: Sequence[Gone] = (), objects: int = MOST) -> list[Finding]:
    """Return what two looks at the tasks have found, without what a watching thread knows; see `why`.

    Whoever it is about must await the same in both. What is only slow moves, so that is let pass.

    Args:
        apart_s: As `why` takes it.
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
