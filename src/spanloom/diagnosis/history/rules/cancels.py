"""CANCEL_SWALLOWED: a task that was cancelled goes on as before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.history.census import Member
from spanloom.diagnosis.history.rules.words import finding, near, seconds
from spanloom.diagnosis.history.sight import Sight

if TYPE_CHECKING:
    from spanloom.diagnosis.history.memory import Memory

__all__ = ["swallowed_cancels"]

GRACE_S: Final = 1.0
"""Seconds that a cancelled task may go on before it is looked at."""
LEAST_LOOKS: Final = 2
"""Earlier looks that must have seen a task go on, if the present one does not."""
LONG_S: Final = 10.0
"""Seconds that a task whose handler notes the cancel (`Sight.takes_note`) may go on with its present work."""


def swallowed_cancels(memory: Memory, sights: list[Sight]) -> Iterator[Finding]:
    """Yield a finding for each task that has caught a cancel, is not about to end.

    And goes on in its loop.
    """
    cancelled = {sight.key for sight in sights if sight.cancelling}
    awaiting = {sight.awaits_task: sight for sight in sights if sight.awaits_task is not None}
    for sight in sights:
        member = memory.census.members.get(sight.ref)
        if not sight.cancelling or member is None or member.cancelled_at is None:
            continue
        since_s = memory.census.at - member.cancelled_at
        if sight.must_cancel or sight.cleans_up or sight.awaits_task in cancelled:
            continue
        # It may have been seen to go on, and be outside of the `try` at this very moment.
        goes_on = sight.goes_on or (member.went_on >= LEAST_LOOKS and sight.is_in_loop)
        if not goes_on or since_s < (LONG_S if sight.takes_note or member.took_note else GRACE_S):
            continue
        yield _finding(sight, member, since_s, awaiting.get(sight.key))


def _finding(sight: Sight, member: Member, since_s: float, waiter: Sight | None) -> Finding:
    at = sight.lives_at
    place = member.went_on_at if not sight.goes_on else None if at is None else at.location
    function = "" if sight.function == sight.name else f" (`{sight.function}`)"
    inside = "" if at is None or at.function in (sight.function, sight.name) else f" in `{at.function}`"
    waits = "" if waiter is None else f", and `{waiter.name}` waits for its end"
    return finding(
        "CANCEL_SWALLOWED",
        "LIKELY",
        f"Task `{sight.name}`{function} was cancelled {seconds(since_s)} ago or more, caught the "
        "CancelledError, and "
        f"goes on{inside} at {near(place)}{waits}. Catch `Exception` instead of everything, or `raise` "
        "again after "
        "cleaning up.",
        jobs=[sight.name] if waiter is None else [sight.name, waiter.name],
        location=place,
        since_s=since_s,
        evidence=[
            f"cancelling() is {sight.cancelling}, and no CancelledError is being handled",
            *(f"at {step.location} in {step.function}" for step in sight.chain),
        ],
    )
