"""How long each running batch has stood still: no job of it has started, ended or been retried."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Final, Literal

from spanloom.callbacks.manager import CallbackManager, running_batches
from spanloom.events import keys
from spanloom.events.types import EventStatus

if TYPE_CHECKING:
    from spanloom.events.event import ScopeEvent

__all__ = [
    "STALL_AFTER",
    "STALL_AFTER_S",
    "StallAfter",
    "Stand",
    "Standing",
    "check_stall_after",
    "may_rest",
    "outer_id",
]

STALL_AFTER_S: Final = 30.0
"""Seconds without progress after which a batch is reported to stand still, by default."""
LATE_S: Final = 10.0
"""Seconds between two looks above which the time is not counted: the process was stopped, or the machine slept."""
PATIENCE: Final = 2.0
"""Factor on the longest time that a batch stood still before going on; a batch is not reported earlier."""

StallAfter = float | Literal["default"] | None
"""Seconds; ``None`` for never; ``"default"`` for the stall time of the process."""

STALL_AFTER: Final[dict[int, float | None]] = {}
"""Stall times given to runners, by the event id of the batch, while it runs."""


def check_stall_after(stall_after: StallAfter) -> StallAfter:
    """Return `stall_after`, the argument of a runner.

    Raises:
        ValueError: it is not a number above 0, ``None`` or ``"default"``.
    """
    if stall_after is None or stall_after == "default":
        return stall_after
    if not isinstance(stall_after, int | float) or isinstance(stall_after, bool) or not stall_after > 0:
        raise ValueError(
            f"stall_after is a time above 0 s, None for never, or 'default' (got {stall_after!r})"
        )
    return float(stall_after)


def may_rest(batch: ScopeEvent) -> bool:
    """Tell whether a batch may legitimately have nothing to do.

    The tasks of an asyncio or anyio task group may be idle servers. A batch with no job in flight waits for its input,
    or for the consumer of its results.
    """
    runner = batch.payload.get(keys.RUNNER)
    if isinstance(runner, str) and runner.startswith(("asyncio.", "anyio.")):
        return True
    return batch.counts is not None and batch.counts.in_flight == 0


class Stand:
    """The progress of a batch at the last look, and since when it has made no more.

    Attributes:
        event: The batch's event.
        since_s: When it, or a batch inside one of its jobs, was last seen to move, on the monotonic clock.
        still_s: Seconds that it has been seen to stand still.
        longest_s: Longest time in seconds that it stood still before that and then went on.
        moves: How often it has been seen to move.
    """

    __slots__ = ("_done", "event", "longest_s", "moves", "since_s", "still_s")

    def __init__(self, event: ScopeEvent, now_s: float) -> None:
        self.event: ScopeEvent = event
        self.since_s: float = now_s
        self.still_s: float = 0.0
        self.longest_s: float = 0.0
        self.moves: int = 0
        self._done: object = _done(event)

    def has_moved(self) -> bool:
        """Look at the batch's progress; tell whether it has changed since the last look."""
        before, self._done = self._done, _done(self.event)
        return before != self._done

    def stay(self, now_s: float) -> None:
        """Note that it has not moved."""
        self.still_s = now_s - self.since_s

    def move(self, now_s: float) -> None:
        """Note that it, or a batch inside it, has moved."""
        # Only what was seen at two looks counts: in between, it may have moved all the time.
        self.longest_s = max(self.longest_s, self.still_s)
        self.since_s, self.still_s = now_s, 0.0
        self.moves += 1

    def limit_s(self, usual_s: float | None) -> float | None:
        """Return the seconds after which it is reported to stand still; ``None`` for never.

        Args:
            usual_s: The stall time of the process, used unless the batch has its own.
        """
        limit_s = STALL_AFTER.get(self.event.event_id, usual_s)
        return None if limit_s is None else max(limit_s, PATIENCE * self.longest_s)


class Standing:
    """The running batches, and how long each has stood still, from look to look. For one thread."""

    def __init__(self) -> None:
        self._stands: dict[int, Stand] = {}
        self._looked_s: float | None = None

    def look(self, now_s: float) -> list[tuple[CallbackManager, Stand]]:
        """Look at all batches; return them with their managers, in no particular order.

        Progress of a batch inside a job counts as progress of the job's batch, too.

        Args:
            now_s: Seconds on the monotonic clock.
        """
        self._leave_out(now_s)
        known, self._stands = self._stands, {}
        found: list[tuple[CallbackManager, Stand]] = []
        moved: set[int] = set()
        for manager, event in running_batches():
            if event.counts is None:
                continue
            event_id = event.event_id
            stand = known.pop(event_id, None)
            if stand is None:
                stand = Stand(event, now_s)
                moved.add(event_id)
            elif stand.has_moved():
                moved.add(event_id)
            self._stands[event_id] = stand
            found.append((manager, stand))
        moved |= {
            stand.event.event_id for stand in known.values() if stand.event.status != EventStatus.CANCELLED
        }
        around = {**known, **self._stands}
        for event_id in tuple(moved):
            outer = outer_id(around[event_id].event)
            while outer is not None and outer in around and outer not in moved:
                moved.add(outer)
                outer = outer_id(around[outer].event)
        for _, stand in found:
            if stand.event.event_id in moved:
                stand.move(now_s)
            else:
                stand.stay(now_s)
        return found

    def copy(self) -> Standing:
        """Return a copy, for another thread."""
        other = Standing()
        other._looked_s = self._looked_s
        for event_id, stand in self._stands.items():
            other._stands[event_id] = copy(stand)
        return other

    def _leave_out(self, now_s: float) -> None:
        """Do not count a long time without a look: the batches could not move then either."""
        before_s, self._looked_s = self._looked_s, now_s
        if before_s is not None and now_s - before_s > LATE_S:
            for stand in self._stands.values():
                stand.since_s += now_s - before_s


def outer_id(batch: ScopeEvent) -> int | None:
    """Return the event id of the batch in whose job `batch` runs; ``None`` if it runs in no job."""
    return None if batch.job is None else batch.job.batch_id


def _done(batch: ScopeEvent) -> object:
    counts = batch.counts
    if counts is None:
        return None
    # Without cancelled jobs: to give up a batch that stands still does not make it move.
    return counts.started, counts.ended - counts.cancelled, counts.retried, counts.failed
