"""Since when each running batch has stood still: no job of it started, ended or tried again."""

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
"""Seconds without progress after which a batch is said to stand still, if nobody says anything else."""
LATE_S: Final = 10.0
"""From here on a pause between two looks is not counted: the process was stopped, or the machine slept."""
PATIENCE: Final = 2.0
"""Of the longest time that a batch stood still before, and went on: as long may pass again."""

StallAfter = float | Literal["default"] | None
"""Seconds; ``None`` for never; ``"default"`` for what holds for the process."""

STALL_AFTER: Final[dict[int, float | None]] = {}
"""What the caller of a runner has said of his batch, by its event id, while it runs."""


def check_stall_after(stall_after: StallAfter) -> StallAfter:
    """Return `stall_after`, the argument of a runner.

    Raises:
        ValueError: it is not more than 0, or another word than ``"default"``.
    """
    if stall_after is None or stall_after == "default":
        return stall_after
    if not isinstance(stall_after, int | float) or isinstance(stall_after, bool) or not stall_after > 0:
        raise ValueError(
            f"stall_after is a time above 0 s, None for never, or 'default' (got {stall_after!r})"
        )
    return float(stall_after)


def may_rest(batch: ScopeEvent) -> bool:
    """Tell whether a batch may well have nothing to do.

    A group of tasks of any kind may be of servers that nobody calls, and a batch none of whose jobs is in flight waits
    for its input, or for who takes its results.
    """
    runner = batch.payload.get(keys.RUNNER)
    if isinstance(runner, str) and runner.startswith(("asyncio.", "anyio.")):
        return True
    return batch.counts is not None and batch.counts.in_flight == 0


class Stand:
    """How far a batch was when it was looked at last, and since when it is there.

    Attributes:
        event: Of the batch.
        since_s: Since when nothing of it, and of the batches inside of it, has moved; by the monotonic clock.
        still_s: For how long it has been seen to stand still.
        longest_s: The longest that it stood still before that.
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
        """Look how far the batch is; tell whether that is farther than at the last look."""
        before, self._done = self._done, _done(self.event)
        return before != self._done

    def stay(self, now_s: float) -> None:
        """Take down that it has not moved."""
        self.still_s = now_s - self.since_s

    def move(self, now_s: float) -> None:
        """Take down that it, or one inside of it, has moved."""
        # Seen to stand still at two looks at least, else it may have moved all the time.
        self.longest_s = max(self.longest_s, self.still_s)
        self.since_s, self.still_s = now_s, 0.0
        self.moves += 1

    def limit_s(self, usual_s: float | None) -> float | None:
        """Return after how long it is said to stand still; ``None`` for never.

        Args:
            usual_s: The time that holds for the process.
        """
        limit_s = STALL_AFTER.get(self.event.event_id, usual_s)
        return None if limit_s is None else max(limit_s, PATIENCE * self.longest_s)


class Standing:
    """The batches that run, and since when each stands still, from one look to the next. For one thread."""

    def __init__(self) -> None:
        self._stands: dict[int, Stand] = {}
        self._looked_s: float | None = None

    def look(self, now_s: float) -> list[tuple[CallbackManager, Stand]]:
        """Look at all batches; return them with their managers, in no order.

        What moves in a batch that runs inside of a job moves the batch of that job, too.

        Args:
            now_s: By the monotonic clock.
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
        """Return one that knows the same, for another thread."""
        other = Standing()
        other._looked_s = self._looked_s
        for event_id, stand in self._stands.items():
            other._stands[event_id] = copy(stand)
        return other

    def _leave_out(self, now_s: float) -> None:
        """Leave the time out in which nobody could look: nothing else could move either."""
        before_s, self._looked_s = self._looked_s, now_s
        if before_s is not None and now_s - before_s > LATE_S:
            for stand in self._stands.values():
                stand.since_s += now_s - before_s


def outer_id(batch: ScopeEvent) -> int | None:
    """Return the event id of the batch in whose job `batch` runs; ``None`` if it is in none."""
    return None if batch.job is None else batch.job.batch_id


def _done(batch: ScopeEvent) -> object:
    counts = batch.counts
    if counts is None:
        return None
    # Not those that were cancelled: who gives up a batch that stands still has not made it go on.
    return counts.started, counts.ended - counts.cancelled, counts.retried, counts.failed
