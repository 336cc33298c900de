"""What is remembered of a program between looks, for findings that only time shows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.chain import links_of
from spanloom.diagnosis.fields import field, future_done
from spanloom.diagnosis.history.batches import Batches
from spanloom.diagnosis.history.census import Census
from spanloom.diagnosis.history.complaints import Complaints
from spanloom.diagnosis.history.dropped import Dropped
from spanloom.diagnosis.history.listening import Listening
from spanloom.diagnosis.history.live import Ref, wakes_at, with_task
from spanloom.diagnosis.history.sites import Sites
from spanloom.diagnosis.settings import looking

if TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding
    from spanloom.diagnosis.gone import Gone

__all__ = ["Memory"]

STEP_S: Final = 0.25
"""Seconds between two steps for a small program."""
CALM_S: Final = 4.0
"""Seconds after which steps become rarer, down to a quarter of the rate after four times that."""
YOUNG_S: Final = 6.0
"""Seconds after which steps become rarer still while nothing changes: each pause is twice the one before."""
LONGEST_STEP_S: Final = 5.0
SHARE: Final = 0.000_3
"""Share of a core for the steps: one of 3 ms is followed by a pause of 10 s."""
EARLY_S: Final = 0.06
"""CPU seconds spent on steps before `SHARE` counts; until then it is `EARLY_SHARE`, and more at the start."""
EARLY_SHARE: Final = 0.001
WATCHED: Final = 60
"""Tasks that one step checks for having moved since the last, at most."""
CANCELLED: Final = 50
"""Cancelled tasks that are looked at in one step, at most."""


class _Restless(msgspec.Struct, eq=False):
    """A task that was looked at in the last step."""

    ref: Ref
    stands: Hashable


class Memory:
    """What is remembered of this process. One thread calls `step`; any may ask.

    Attributes:
        census: How many tasks of each kind.
        complaints: What loops were told of lost tasks.
        dropped: Adds to them what loops are not told of.
        sites: Where tasks are made.
        batches: How far spanloom's own batches have come.
        listening: The exceptions raised and caught in its windows.
        since: When it began, by `time.monotonic`.
        present: When the last regular step was taken, not one for a question.
        changed: When a step last found that tasks had been made, had ended, or had moved.
    """

    def __init__(self) -> None:
        self.census: Census = Census()
        self.complaints: Complaints = Complaints()
        self.dropped: Dropped = Dropped(self.complaints.add)
        self.sites: Sites = Sites()
        self.batches: Batches = Batches()
        self.listening: Listening = Listening()
        self.since: float = time.monotonic()
        self.present: float = self.since
        self.changed: float = self.since
        self._known = (0, 0)
        self._pause_s = STEP_S
        self._spent_s = 0.0
        self._next = 0.0
        self._watched: list[_Restless] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to listen. The program's behaviour does not change."""
        self.complaints.listen()
        self.dropped.listen()
        self.sites.listen()
        self.batches.listen()

    def stop(self) -> None:
        """Stop listening; what is remembered stays."""
        self.listening.end()
        self.complaints.stop()
        self.dropped.stop()
        self.sites.stop()
        self.batches.stop()

    def step(self, now_s: float | None = None) -> float:
        """Take a step, unless it is too early for that.

        Args:
            now_s: By `time.monotonic`; ``None`` for the present.

        Returns:
            In how many seconds the next one is due.
        """
        now = time.monotonic() if now_s is None else now_s
        self.listening.end(now)
        if now >= self._next:
            self._step(now)
        due_s = self.listening.due_s(now)
        return self._next - now if due_s is None else min(due_s, self._next - now)

    def _step(self, now: float) -> None:
        if not self._lock.acquire(blocking=False):
            self._next = now + STEP_S
            return
        try:
            began = time.thread_time()
            with looking():
                self._look(now)
            took = time.thread_time() - began
        finally:
            self._lock.release()
        # What begins badly shows within seconds; a program that runs for longer can be looked at more rarely.
        age_s = now - self.since
        self._spent_s += took
        is_early = self._spent_s < EARLY_S
        if age_s < CALM_S and is_early:
            pause = max(STEP_S, took * 20)
        else:
            pause = STEP_S * max(1.0, min(4.0, age_s / CALM_S))
            if age_s >= YOUNG_S and self.changed < now:
                pause = min(LONGEST_STEP_S, max(pause, 2 * self._pause_s))
            pause = max(pause, min(LONGEST_STEP_S, took / EARLY_SHARE) if is_early else took / SHARE)
        self._pause_s = pause
        self._next = now + pause

    def _look(self, now: float) -> None:
        were_made = self.sites.listen()
        self.census.step(now)
        self.present = now
        for loop in self.census.loops():
            self.complaints.listen_to(loop)
        self.batches.step(now)
        self._look_after_cancels()
        known, self._known = self._known, (self.census.met, self.census.gone)
        moved = self._moved()
        if moved:
            self.listening.begin(moved, now)
        if moved or were_made or known != self._known:
            self.changed = now

    def findings(self) -> list[Finding]:
        """Return the findings. Takes a step first, and listens, so it blocks: not for the thread of a loop."""
        from spanloom.diagnosis.history.rules import find
        from spanloom.diagnosis.history.rules.storms import is_storm, may_be_storm

        # No regular step: the question may have waited, and that must not count as time without a look.
        present, self._next = self.present, 0.0
        self.listening.now_if_stale(time.monotonic())
        self.step()
        self.listening.hear_out(is_storm, may_be_storm)
        self.present = present
        return find(self)

    def gone(self) -> list[Gone]:
        """Return the notes on tasks that may no longer exist, the lost ones first.

        The caller must check whether they do; losses of the same kind are returned once.
        """
        from spanloom.diagnosis.gone import Gone

        found: dict[object, Gone] = {}
        for lost in tuple(self.complaints.lost):
            codes = dict.fromkeys((*lost.codes, *(() if lost.code is None else (lost.code,))))
            if lost.error is not None and codes:
                key = lost.name if lost.code is None else lost.code, lost.error, lost.location
                found[key] = Gone(
                    tuple(codes), lost.function, (lost.name,), 1, lost.error, lost.message, lost.location
                )
        for code, names in tuple(self.sites.names.items()):
            function = bare_name(code.co_qualname)
            found[code] = Gone((code,), function, tuple(names), self.sites.count(code))
        return list(found.values())

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has other tasks."""
        self.stop()
        self.__init__()  # type: ignore[misc] # nothing of the parent's holds here
        self.start()

    def _look_after_cancels(self) -> None:
        """Check whether tasks that were cancelled before the last step, and have not ended, go on."""
        members = self.census.members
        since = self.census.at - STEP_S / 2
        cancelled = [
            ref
            for ref, each in members.items()
            if each.cancelled_at is not None and each.cancelled_at < since and not each.ended
        ]
        if not cancelled:
            return
        from spanloom.diagnosis.history.sight import see  # what most programs never need

        for sight in see(cancelled[:CANCELLED]):
            if sight.goes_on and not sight.must_cancel and not sight.cleans_up:
                member = members[sight.ref]
                member.went_on += 1
                member.took_note = member.took_note or sight.takes_note
                if sight.lives_at is not None:
                    member.went_on_at = sight.lives_at.location

    def _moved(self) -> list[Ref]:
        """Return those of the tasks looked at in the last step that await something else now.

        Look at others.
        """
        moved: list[Ref] = []
        for watched in self._watched:
            with_task(watched.ref, partial(_note_move, watched, moved))
        refs = [ref for ref, member in self.census.members.items() if not member.ended]
        sample = moved[: WATCHED // 2]
        if refs:
            import random  # a program without tasks does without

            sample += random.sample(refs, min(len(refs), WATCHED - len(sample)))
        self._watched = []
        for ref in dict.fromkeys(sample):
            with_task(ref, partial(_watch, ref, self._watched))
        return moved


def _stands(task: asyncio.Task[Any]) -> Hashable:
    """Return what is the same in two looks only if a task has not moved, most of the time.

    Addresses are used again.
    """
    links = links_of(task)
    chain = [(id(link.owner), link.frame.f_lasti) for link in links]
    return id(field(task, "_fut_waiter")), tuple(chain), wakes_at(links)


def _watch(ref: Ref, watched: list[_Restless], task: asyncio.Task[Any]) -> None:
    watched.append(_Restless(ref, _stands(task)))


def _note_move(watched: _Restless, moved: list[Ref], task: asyncio.Task[Any]) -> None:
    if not future_done(task) and _stands(task) != watched.stands:
        moved.append(watched.ref)
