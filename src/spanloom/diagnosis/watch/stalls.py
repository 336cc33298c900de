"""Reports unasked that nothing moves: once to the log, and as events, which the record keeps if the process is killed.

A batch stalls if none of its jobs has been started, ended or tried again for `stall_after_s`, or for twice the longest
time that it has stood still before and went on. Batches inside of a job count as the job's. A stall is reported again
after twice that time, twice this, and so on. For a batch that may rest (`standing.may_rest`) it is reported only with a
reason: a ``gather`` of two servers stands still until a client comes.

A program without batches is looked at now and then, with pauses that grow likewise. What is found is only written as
events, not logged: the terminal is the program's.
"""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from spanloom.callbacks.manager import CallbackManager
from spanloom.callbacks.standing import STALL_AFTER_S, Stand, Standing, may_rest, outer_id
from spanloom.diagnosis.watch.pulse import Hold, Pulse
from spanloom.events import keys
from spanloom.events.event import Event
from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding

__all__ = ["Reporter"]

FIRST_SNAPSHOT_S: Final = 5.0
LONGEST_PAUSE_S: Final = 600.0
"""Seconds between two looks at a program without batches; more if they cost more than `SHARE`."""
SHARE: Final = 0.000_3
"""Share of a core for these looks."""
TASK_S: Final = 80e-6
"""CPU seconds of a look for each task."""
OBJECT_S: Final = 5e-6
"""CPU seconds of a look for each object that the search for givers visits."""
FREE_S: Final = 0.004
"""CPU seconds that the first look may cost, 5 s after the start: 50 tasks. With more, it waits for its share."""
COUNT_PAUSE_S: Final = 15.0
"""Seconds between two counts of the tasks of such a program."""
BATCH_STEP_S: Final = 1.0
LAG_S: Final = 0.25
"""Seconds from which on the holds of a loop in one place, those of one second together, are an event."""
MAX_LAGS: Final = 5
"""Events of holds a second, at most: the longest."""
_logger = logging.getLogger("spanloom.diagnosis")


class _Said:
    """What was reported of a batch that stands still, and when it is reported again."""

    def __init__(self, stand: Stand, limit_s: float) -> None:
        self.moves: int = stand.moves
        self.next_s: float = stand.since_s + limit_s
        self.pause_s: float = limit_s
        self.told: bool = False


class Reporter:
    """Reports on the batches and the loops of this process; to be called after each look.

    Args:
        find: Returns the findings of this moment.
        pulses: Returns the pulses of the loops.
        stall_after_s: Seconds without progress after which a batch stalls; ``None`` for never.
        changed_s: Returns when the program was last seen to move, by the monotonic clock; if that was before the last
            look, no new one is needed.
        tasks: Returns how many tasks there are.
        glance: Returns the findings of a look that nobody has asked for, given the number of objects that its share of
            the time pays for; ``None``: `find` is used.
        standing: What is known of the batches already.
    """

    def __init__(
        self,
        find: Callable[[], list[Finding]],
        pulses: Callable[[], list[Pulse]],
        stall_after_s: float | None = STALL_AFTER_S,
        changed_s: Callable[[], float] = lambda: math.inf,
        tasks: Callable[[], int] = lambda: 0,
        glance: Callable[[int], list[Finding]] | None = None,
        standing: Standing | None = None,
    ) -> None:
        self.stall_after_s: float | None = stall_after_s
        self._find = find
        self._pulses = pulses
        self._changed_s = changed_s
        self._tasks = tasks
        self._glance = glance or (lambda _: find())
        self._looked_s = 0.0
        self._standing = standing or Standing()
        self._seen: list[Stand] = []
        self._said: dict[int, _Said] = {}
        self._manager: CallbackManager | None = None
        self._next_step_s = 0.0
        self._next_snapshot_s: float | None = None
        self._began_s = 0.0
        self._pause_s = FIRST_SNAPSHOT_S
        self._written: list[str] = []
        self._lags: weakref.WeakSet[Hold] = weakref.WeakSet()

    def __call__(self, now_s: float) -> None:
        """Do what is due."""
        if now_s < self._next_step_s:
            return
        self._next_step_s = now_s + BATCH_STEP_S
        self._note_lags()
        self._note_batches(now_s)
        if self._next_snapshot_s is None:
            self._began_s, self._next_snapshot_s = now_s, now_s + self._pause_s
        elif now_s >= self._next_snapshot_s and self._changed_s() >= self._looked_s:
            due_s = self._due_s()
            if now_s < due_s:  # too early for so many tasks; even counting them has its cost
                self._next_snapshot_s = min(due_s, now_s + COUNT_PAUSE_S)
                return
            self._looked_s = now_s
            began_s = time.thread_time()
            self._snapshot(round((now_s - self._began_s) * SHARE / OBJECT_S))
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._next_snapshot_s = now_s + max(self._pause_s, (time.thread_time() - began_s) / SHARE)

    def _due_s(self) -> float:
        """Return the time from which on a look costs no more than its share of the time until then."""
        return self._began_s + (self._tasks() * TASK_S - FREE_S) / SHARE

    def stalled(self, now_s: float) -> list[tuple[Event, float]]:
        """Return the batches that have stood still at least for the stall time, and for how many seconds."""
        # A batch is first seen, or seen to move, up to a step later than it did.
        still_s = self.still_s(now_s) or 0.0
        found: list[tuple[Event, float]] = []
        for stand in self._seen:
            limit_s, stood_s = stand.limit_s(self.stall_after_s), max(still_s, now_s - stand.since_s)
            if stand.event.end_ns is None and limit_s is not None and stood_s >= limit_s:
                found.append((stand.event, stood_s))
        return found

    def still_s(self, now_s: float) -> float | None:
        """Return for how many seconds no task has moved, if it is at least the stall time."""
        for_s = now_s - self._changed_s()
        return for_s if self.stall_after_s is not None and for_s >= self.stall_after_s else None

    # batches ------------------------------------------------------------------------------------------

    def _note_batches(self, now_s: float) -> None:
        before, self._said = self._said, {}
        found = self._standing.look(now_s)
        self._seen = [stand for _, stand in found]
        due: list[tuple[CallbackManager, Stand, _Said]] = []
        for manager, stand in found:
            event_id, limit_s = stand.event.event_id, stand.limit_s(self.stall_after_s)
            said = before.get(event_id)
            if said is not None and said.moves != stand.moves:
                if said.told:
                    _tell(manager, stand.event, [], 0.0)
                said = None
            if limit_s is None:
                continue
            self._said[event_id] = said = said or _Said(stand, limit_s)
            if now_s >= said.next_s:
                due.append((manager, stand, said))
        if due:
            inner = {outer_id(stand.event) for _, stand in found}
            for manager, stand, said in due:
                said.next_s, said.pause_s = now_s + said.pause_s, 2 * said.pause_s
                if stand.event.event_id not in inner:  # else the inner batch stands still
                    self._report(manager, stand, said, now_s)

    def _report(self, manager: CallbackManager, stand: Stand, said: _Said, now_s: float) -> None:
        event, stalled_s = stand.event, now_s - stand.since_s
        found = self._find()
        if not found and may_rest(event):
            return
        said.told = True
        counts = event.counts
        how_far = f"{counts.ended} jobs done, {counts.in_flight} in flight" if counts is not None else ""
        why = " ".join(finding.message for finding in found[:1]) or "Why cannot be seen."
        _logger.warning("batch %s has stood still for %.0f s (%s). %s", event.name, stalled_s, how_far, why)
        _tell(manager, event, found, stalled_s)

    # the program --------------------------------------------------------------------------------------

    def _snapshot(self, objects: int) -> None:
        """Emit an event with what is wrong with the program, or with nothing if it no longer is."""
        found = [finding for finding in self._glance(objects) if finding.severity != "info"]
        if not found and not self._written:
            return
        self._written = [finding.code for finding in found]
        self._own().emit(
            EventType.STALL, {keys.STALLED_S: None, keys.FINDINGS: _plain(found)}, name="program"
        )

    def _own(self) -> CallbackManager:
        """Return a manager of ours, by which events reach the handlers of the process, such as the record."""
        if self._manager is None:
            self._manager = CallbackManager(recorder=0)
        return self._manager

    # lag ----------------------------------------------------------------------------------------------

    def _note_lags(self) -> None:
        # A dozen short callbacks in a row block a loop as long as a single long one.
        own_s: defaultdict[tuple[str, str | None], float] = defaultdict(float)
        held_s: defaultdict[tuple[str, str | None], float] = defaultdict(float)
        for hold in self._new_holds():
            place = hold.place
            location = None if place is None else f"{place.code.co_filename}:{place.line}"
            key = hold.function or hold.outermost() or "callback", location
            own_s[key] += hold.own_s(hold.ended_s or 0.0)
            held_s[key] += hold.lasts_s(0.0)
        long = sorted((key for key in held_s if own_s[key] >= LAG_S), key=held_s.__getitem__, reverse=True)
        for name, location in long[:MAX_LAGS]:
            payload: dict[str, object] = {keys.HELD_S: round(held_s[name, location], 3)}
            if location is not None:
                payload[keys.LOCATION] = location
            self._own().emit(EventType.LOOP_LAG, payload, name=name)

    def _new_holds(self) -> Iterator[Hold]:
        for pulse in self._pulses():
            for hold in list(pulse.held):
                if hold not in self._lags:
                    self._lags.add(hold)
                    yield hold


def _tell(manager: CallbackManager, event: Event, found: list[Finding], stalled_s: float) -> None:
    payload = {keys.STALLED_S: round(stalled_s, 1), keys.FINDINGS: _plain(found)}
    manager.emit(EventType.STALL, payload, name=event.name, parent=event)


def _plain(found: list[Finding]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in finding.to_json().items() if key != "evidence"}
        for finding in found[:20]
    ]
